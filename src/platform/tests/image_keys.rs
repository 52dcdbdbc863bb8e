// SPDX-License-Identifier: GPL-2.0-only
//! Files of keys.

use crate::platform::BootError;
use crate::platform::image_keys::{ImageKeys, MAX_IMAGE_KEYS, fingerprint};
use ed25519_dalek::{Signer, SigningKey};
use std::vec;
use std::vec::Vec;

fn key(seed: u8) -> [u8; 32] {
    SigningKey::from_bytes(&[seed; 32]).verifying_key().to_bytes()
}

fn problem(file: &[u8]) -> &'static str {
    match ImageKeys::default().add(file) {
        Err(BootError::ImageKeys(what)) => what,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_file_is_whole_keys_and_nothing_else() {
    let all: Vec<u8> = (0..MAX_IMAGE_KEYS as u8).flat_map(key).collect();
    let mut keys = ImageKeys::default();
    assert!(keys.is_empty());
    keys.add(&[]).unwrap();
    keys.add(&all).unwrap();
    assert_eq!(keys.fingerprints().count(), MAX_IMAGE_KEYS);
    keys.add(&all[32..96]).unwrap();
    assert_eq!(keys.fingerprints().count(), MAX_IMAGE_KEYS, "each counts once");
    assert!(matches!(keys.add(&key(99)), Err(BootError::ImageKeys(_))), "one more");
    for length in [1, 31, 33, 63] {
        assert!(problem(&all[..length]).contains("multiple of 32"), "{length}");
    }
    let text = std::format!("{}", BootError::ImageKeys("not a multiple of 32 bytes long"));
    assert_eq!(text, "keys for images of VMs: a file not a multiple of 32 bytes long");
}

#[test]
fn what_is_no_key_is_refused() {
    let mut identity = [0; 32];
    identity[0] = 1;
    // No point of the curve; the neutral element; one of order 2.
    let minus_one = *b"\xec\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f";
    let mut no_point = [0; 32];
    no_point[0] = 2;
    for bytes in [no_point, identity, minus_one] {
        assert!(problem(&bytes).contains("no Ed25519 public key"), "{bytes:x?}");
    }
}

#[test]
fn each_key_verifies_and_no_other_does() {
    let mut keys = ImageKeys::default();
    let sign = |seed: u8, message: &[u8]| SigningKey::from_bytes(&[seed; 32]).sign(message).to_bytes();
    assert!(!keys.verify(b"a", &sign(1, b"a")));
    keys.add(&[key(1), key(2)].concat()).unwrap();
    for seed in 1..4 {
        assert_eq!(keys.verify(b"a", &sign(seed, b"a")), seed < 3);
        assert!(!keys.verify(b"b", &sign(seed, b"a")));
    }
    assert!(!keys.verify(b"a", &[0; 64]));
    assert!(!keys.verify(b"a", &[0xFF; 64]));
}

/// RFC 8032, 7.1, test 2.
#[test]
fn signatures_are_those_of_the_standard() {
    let public = b"\x3d\x40\x17\xc3\xe8\x43\x89\x5a\x92\xb7\x0a\xa7\x4d\x1b\x7e\xbc\x9c\x98\x2c\xcf\x2e\xc4\x96\x8c\xc0\xcd\x55\xf1\x2a\xf4\x66\x0c";
    let signature = *b"\x92\xa0\x09\xa9\xf0\xd4\xca\xb8\x72\x0e\x82\x0b\x5f\x64\x25\x40\xa2\xb2\x7b\x54\x16\x50\x3f\x8f\xb3\x76\x22\x23\xeb\xdb\x69\xda\x08\x5a\xc1\xe4\x3e\x15\x99\x6e\x45\x8f\x36\x13\xd0\xf1\x1d\x8c\x38\x7b\x2e\xae\xb4\x30\x2a\xee\xb0\x0d\x29\x16\x12\xbb\x0c\x00";
    let mut keys = ImageKeys::default();
    keys.add(public).unwrap();
    assert!(keys.verify(&[0x72], &signature));
    assert!(!keys.verify(&[0x73], &signature));
}

#[test]
fn fingerprints_are_the_beginning_of_the_hash() {
    // SHA-256 of 32 zeros: 66687aadf862bd77...
    assert_eq!(fingerprint(&[0; 32]), 0x6668_7aad_f862_bd77);
    let mut keys = ImageKeys::default();
    keys.add(&key(5)).unwrap();
    assert_eq!(keys.fingerprints().collect::<Vec<_>>(), vec![fingerprint(&key(5))]);
}

#[test]
fn none_is_built_in_unless_asked_for() {
    assert!(ImageKeys::built_in().is_ok_and(|keys| option_env!("IMAGE_KEYS").is_some() || keys.is_empty()));
}
