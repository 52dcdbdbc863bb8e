// SPDX-License-Identifier: GPL-2.0-only
//! The guest's serial port: a 16550, its output on the standard output.

use crate::bus::{Device, Interrupt};
use std::collections::VecDeque;
use std::io::{self, Write};
use vm_superio::Serial;
use vm_superio::serial::NoEvents;

/// What the port holds for the guest.
const FIFO: usize = 64;
/// Registers, as far as this file has to know them.
const INTERRUPT_ENABLE: u64 = 1;
const LINE_CONTROL: u64 = 3;
/// Of INTERRUPT_ENABLE: data have been received.
const RECEIVED: u8 = 1 << 0;
/// Of LINE_CONTROL: the first two registers are the divisor's.
const DIVISOR_LATCH: u8 = 1 << 7;

/// A serial port.
pub struct SerialPort<W: Write> {
    uart: Serial<Interrupt, NoEvents, Lossy<W>>,
    /// What was typed, and does not fit or is not wanted yet.
    typed: VecDeque<u8>,
    /// Whether somebody in the guest waits for input. The drivers' probing throws away what is there.
    listening: bool,
    divisor_latch: bool,
}

impl<W: Write> SerialPort<W> {
    /// A port that writes to `output`.
    pub fn new(interrupt: Interrupt, output: W) -> Self {
        let uart = Serial::new(interrupt, Lossy(output));
        Self { uart, typed: VecDeque::new(), listening: false, divisor_latch: false }
    }

    /// Gives the guest input, as soon as it asks.
    pub fn input(&mut self, bytes: &[u8]) {
        self.typed.extend(bytes);
        self.feed();
    }

    /// Fills the port. When it is empty only: an interrupt that comes while the guest reads could be lost on it.
    fn feed(&mut self) {
        if !self.listening || self.typed.is_empty() || self.uart.fifo_capacity() < FIFO {
            return;
        }
        let bytes: Vec<u8> = self.typed.iter().copied().take(FIFO).collect();
        // It takes nothing in loop-back mode, and can't fail to interrupt but if the VM is at its end.
        let taken = self.uart.enqueue_raw_bytes(&bytes).unwrap_or(bytes.len());
        self.typed.drain(..taken);
    }
}

impl<W: Write + Send> Device for SerialPort<W> {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        if let (Ok(register), Some(first)) = (u8::try_from(offset), data.first_mut()) {
            *first = self.uart.read(register);
            self.feed();
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        let (Ok(register), Some(&value)) = (u8::try_from(offset), data.first()) else { return };
        // An interrupt that nobody waits for any more is lost with its VM.
        let _ = self.uart.write(register, value);
        match offset {
            LINE_CONTROL => self.divisor_latch = value & DIVISOR_LATCH != 0,
            INTERRUPT_ENABLE if !self.divisor_latch => self.listening = value & RECEIVED != 0,
            _ => {}
        }
        self.feed();
    }
}

/// Where output may get lost: a guest does not stop because nobody listens.
struct Lossy<W>(W);

impl<W: Write> Write for Lossy<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.0.write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let _ = self.0.flush();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{DIVISOR_LATCH, INTERRUPT_ENABLE, LINE_CONTROL, RECEIVED, SerialPort};
    use crate::bus::{Device, Interrupt};
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};
    use vmm_sys_util::eventfd::EventFd;

    #[derive(Clone, Default)]
    struct Shown(Arc<Mutex<Vec<u8>>>);

    impl Write for Shown {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            // As a pipe that nobody reads.
            if bytes == b"!" { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(bytes.len()) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn port() -> (SerialPort<Shown>, Shown, EventFd) {
        let event = EventFd::new(libc::EFD_NONBLOCK).unwrap();
        let shown = Shown::default();
        (SerialPort::new(Interrupt::new(event.try_clone().unwrap()), shown.clone()), shown, event)
    }

    /// What the guest reads until there is nothing.
    fn received(port: &mut SerialPort<Shown>) -> Vec<u8> {
        let mut register = |offset| {
            let mut data = [0];
            port.read(offset, &mut data);
            data[0]
        };
        let mut bytes = Vec::new();
        while register(5) & 1 != 0 {
            bytes.push(register(0));
        }
        bytes
    }

    #[test]
    fn output_is_shown_or_lost() {
        let (mut port, shown, _) = port();
        for byte in b"a!b" {
            port.write(0, &[*byte]);
        }
        assert_eq!(*shown.0.lock().unwrap(), b"a!b");
    }

    #[test]
    fn input_waits_until_the_guest_listens() {
        let (mut port, _, event) = port();
        port.input(b"typed early");
        assert_eq!(received(&mut port), b"");
        // The divisor's high half, not the interrupt enable register.
        port.write(LINE_CONTROL, &[DIVISOR_LATCH]);
        port.write(INTERRUPT_ENABLE, &[RECEIVED]);
        port.write(LINE_CONTROL, &[0]);
        assert_eq!(received(&mut port), b"");
        assert!(event.read().is_err());
        port.write(INTERRUPT_ENABLE, &[RECEIVED]);
        assert!(event.read().is_ok());
        assert_eq!(received(&mut port), b"typed early");
    }

    #[test]
    fn no_input_is_lost() {
        let (mut port, _, _) = port();
        port.write(INTERRUPT_ENABLE, &[RECEIVED]);
        let typed: Vec<u8> = (0..1000).map(|n| n as u8).collect();
        port.input(&typed);
        assert_eq!(received(&mut port), typed);
    }

    #[test]
    fn odd_accesses_are_harmless() {
        let (mut port, _, _) = port();
        let mut data = [0; 8];
        for offset in [0, 7, 8, 255, 256, 4095] {
            port.read(offset, &mut data);
            port.write(offset, &data);
            port.write(offset, &[]);
            port.read(offset, &mut []);
        }
    }
}
