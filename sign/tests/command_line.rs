// SPDX-License-Identifier: GPL-2.0-only
//! The tool as people use it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};

/// A folder of a test's own.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    /// Runs the tool there, with words that are parted by spaces.
    fn run(&self, line: &str) -> Output {
        let mut tool = Command::new(env!("CARGO_BIN_EXE_corevisor-sign"));
        tool.current_dir(&self.0).args(line.split_whitespace()).output().expect("it runs")
    }

    fn works(&self, line: &str) -> Vec<u8> {
        let output = self.run(line);
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// That it fails, and says something with `why` in it.
    fn fails(&self, line: &str, why: &str) {
        let output = self.run(line);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(why), "{line}: {said:?} has no {why:?}");
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        fs::write(self.0.join(name), bytes).expect("a file");
    }

    fn get(&self, name: &str) -> Vec<u8> {
        fs::read(self.0.join(name)).expect("a file")
    }
}

#[test]
fn from_a_key_to_a_verified_image() {
    let folder = Folder::new("whole");
    let said = String::from_utf8(folder.works("keygen a")).expect("text");
    folder.works("keygen b");
    assert_eq!((folder.get("a").len(), folder.get("a.pub").len()), (32, 32));
    assert_eq!(fs::metadata(folder.0.join("a")).expect("it is there").permissions().mode() & 0o777, 0o600);
    assert_ne!(folder.get("a"), folder.get("b"));
    assert_eq!(folder.works("public --key a"), folder.get("a.pub"));
    let public = folder.run("public --key a --output again.pub");
    assert_eq!(folder.get("again.pub"), folder.get("a.pub"));
    let fingerprint = String::from_utf8(public.stderr).expect("text");
    assert!(said.ends_with(&fingerprint) && fingerprint.len() == "fingerprint 0123456789abcdef\n".len());

    folder.put("image", &[7; 5000]);
    let signature = folder.works("sign --key a --address 0x40000000 image");
    assert_eq!(signature.len(), 64);
    folder.works("sign --key a --address 1073741824 image --output image.sig");
    assert_eq!(folder.get("image.sig"), signature);
    folder.put("both", &[folder.get("b.pub"), folder.get("a.pub")].concat());
    for keys in ["a.pub", "both"] {
        folder.works(&format!("verify --keys {keys} --address 0x40000000 --signature image.sig image"));
    }
    folder.fails("verify --keys b.pub --address 0x40000000 --signature image.sig image", "bad");
    folder.fails("verify --keys a.pub --address 0x40001000 --signature image.sig image", "bad");
    folder.fails("verify --keys a.pub --address 0x40000000 --pad --signature image.sig image", "bad");
    folder.put("image", &[[7; 4999].as_slice(), &[6]].concat());
    folder.fails("verify --keys a.pub --address 0x40000000 --signature image.sig image", "bad");

    folder.put("padded", &[[7; 5000].as_slice(), &[0; 3192]].concat());
    folder.put("image", &[7; 5000]);
    let padded = folder.works("sign --key a --address 0x40000000 padded");
    assert_eq!(folder.works("sign --pad --key a --address 0x40000000 image"), padded);
}

/// Known answers: RFC 8032's second test key, and what Python's hashlib says of the same bytes.
#[test]
fn what_is_signed_does_not_change() {
    let folder = Folder::new("known");
    let secret = [
        0x4c, 0xcd, 0x08, 0x9b, 0x28, 0xff, 0x96, 0xda, 0x9d, 0xb6, 0xc3, 0x46, 0xec, 0x11, 0x4e, 0x0f, 0x5b, 0x8a,
        0x31, 0x9f, 0x35, 0xab, 0xa6, 0x24, 0xda, 0x8c, 0xf6, 0xed, 0x4f, 0xb8, 0xa6, 0xfb,
    ];
    folder.put("key", &secret);
    folder.put("hello", b"hello");
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(
        hex(&folder.works("public --key key")),
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
    );
    assert_eq!(hex(&folder.works("sign --key key --address 0x40000000 hello")), SIGNATURE);
    let measure = |line: &str| String::from_utf8(folder.works(line)).expect("text");
    assert_eq!(measure("measure 0x40000000:hello").trim_end(), MEASUREMENT);
    assert_eq!(measure("measure --unsigned 0x40000000:hello 0x80000000:hello").trim_end(), UNSIGNED);
    let others = ["--shared 0x40000000:hello", "0x40001000:hello", "--pad 0x40000000:hello", ""];
    for other in others {
        assert_ne!(measure(&format!("measure {other}")).trim_end(), MEASUREMENT);
    }
}

const SIGNATURE: &str = concat!(
    "fa7cf87a7a0f78a61a6e2722e6730107df272424e5c751e2332609adde6a6384",
    "dddf32758b233b4411390d17c62a17f9b673db6eb767a54a66484b6ccce3a002"
);
const MEASUREMENT: &str = "d191000f8bf6bb4fe259cc8ff911b4d361b62aa2541fa1ba0c57c5ff46598949";
const UNSIGNED: &str = "16bf3051b7ec78dd1ce38b633af7595d4c5d3da10f7288e47dbf4233d8a413bd";

#[test]
fn what_can_not_be_right_is_refused_with_a_reason() {
    let folder = Folder::new("wrong");
    folder.works("keygen key");
    folder.put("image", b"x");
    folder.put("empty", b"");
    folder.fails("keygen key", "exists");
    folder.fails("sign --key nokey --address 0x1000 image", "nokey");
    folder.fails("sign --key image --address 0x1000 image", "32 bytes");
    folder.fails("sign --key key --address 0x1001 image", "multiple of 4096");
    folder.fails("sign --key key --address x image", "invalid");
    folder.fails("sign --key key --address 0x1000 empty", "no bytes");
    folder.fails("sign --key key --address 0xfffffff000 image", "beyond");
    folder.fails("sign --key key image", "--address");
    folder.fails("verify --keys image --address 0x1000 --signature image image", "multiple of 32");
    folder.fails("verify --keys key.pub --address 0x1000 --signature image image", "64 bytes");
    folder.fails("measure image", "colon");
    let help = String::from_utf8(folder.works("--help")).expect("text");
    for word in ["keygen", "sign", "verify", "measure", "IMAGE_KEYS", "SET_BOOT_INFO"] {
        assert!(help.contains(word), "{word}");
    }
}
