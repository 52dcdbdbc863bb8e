// SPDX-License-Identifier: GPL-2.0-only
//! The console: a PL011 that the host uses, too, and the log in memory.

use super::percpu;
use crate::addr::Range;
use crate::platform::log_ring::LogRing;
use arm_pl011_uart::{PL011Registers, Uart, UniqueMmioPointer};
use core::fmt::{self, Write};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use log::{LevelFilter, Log, Metadata, Record};
use spin::mutex::TicketMutex;

/// Polls of a full transmit FIFO, at 100 ns or more each, before the rest of a text is dropped: the host may have
/// switched the UART off, and must not hold us up with it. At 115200 baud a byte takes 87 µs.
const PATIENCE: u32 = 20_000;
/// Lines about refusals that are printed in one second.
const REFUSALS_A_SECOND: u32 = 10;

/// Where to print while no device tree has been read, or none can be: set at build time (`make EARLYCON=0x…`), because
/// nobody else can tell by then. The default is QEMU's `virt`.
const EARLY_UART: u64 = match option_env!("EARLYCON") {
    Some(text) => parse_hex(text),
    None => 0x0900_0000,
};

const fn parse_hex(text: &str) -> u64 {
    let digits = match text.as_bytes() {
        [b'0', b'x', rest @ ..] => rest,
        all => all,
    };
    match u64::from_str_radix(
        match str::from_utf8(digits) {
            Ok(d) => d,
            Err(_) => panic!(),
        },
        16,
    ) {
        Ok(n) => n,
        Err(_) => panic!("EARLYCON must be a hexadecimal address"),
    }
}

static LOG: LogRing = LogRing::new();
/// Physical address of the UART; 0: none.
static UART: AtomicU64 = AtomicU64::new(EARLY_UART);
static TURN: TicketMutex<()> = TicketMutex::new(());

/// The early UART's page, to be mapped until the tree names another.
pub fn early_uart() -> Option<Range> {
    Range::new(EARLY_UART, 4096).filter(|r| r.start != 0)
}

/// Prints to the UART of `window` from here on, or nowhere.
pub fn use_uart(window: Option<Range>) {
    UART.store(window.map_or(0, |w| w.start), Ordering::Relaxed);
}

/// The log in memory.
pub fn log_ring() -> &'static LogRing {
    &LOG
}

/// Starts logging, with all lines of `level` and above.
pub fn start(level: LevelFilter) {
    static LOGGER: Console = Console;
    let _ = log::set_logger(&LOGGER); // fails only if it is set already
    log::set_max_level(level);
}

/// The level of `loglevel=` in `args`, by default Info.
pub fn level_of(args: &str) -> LevelFilter {
    let chosen = args.split_whitespace().find_map(|arg| arg.strip_prefix("loglevel="));
    chosen.and_then(|name| name.parse().ok()).unwrap_or(LevelFilter::Info)
}

/// Bytes to the log and the UART. Without a lock: see [`Console`] and [`Unlocked`].
struct Raw;

impl Write for Raw {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        LOG.write(text.as_bytes());
        let Some(at) = NonNull::new(UART.load(Ordering::Relaxed) as *mut PL011Registers) else {
            return Ok(());
        };
        // SAFETY: UART is the address of a PL011 that is mapped as a device, or 0. The host may use its registers at the
        // same time; all that does is mix up the output.
        let mut uart = Uart::new(unsafe { UniqueMmioPointer::new(at) });
        let with_returns = text.bytes().flat_map(|b| [(b == b'\n').then_some(b'\r'), Some(b)]).flatten();
        for byte in with_returns {
            if !send(&mut uart, byte) {
                break;
            }
        }
        Ok(())
    }
}

/// Whether the UART took the byte.
fn send(uart: &mut Uart<'_>, byte: u8) -> bool {
    for _ in 0..PATIENCE {
        if !uart.is_tx_fifo_full() {
            uart.write_word(byte);
            return true;
        }
        core::hint::spin_loop();
    }
    false
}

/// The logger: one line at a time.
struct Console;

impl Log for Console {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let _turn = TURN.lock();
        let cpu = percpu::index();
        let _ = writeln!(Raw, "[corevisor] {:5} cpu{cpu}: {}", record.level(), record.args());
    }

    fn flush(&self) {}
}

/// The console for a CPU that can't wait for its turn: whoever has it may be dead, or locks may not work yet.
pub struct Unlocked;

impl Write for Unlocked {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        Raw.write_str(text)
    }
}

/// Logs a refusal, unless there have been too many in this second.
pub fn log_refusal(line: fmt::Arguments<'_>) {
    static SECOND: AtomicU64 = AtomicU64::new(0);
    static LINES: AtomicU32 = AtomicU32::new(0);
    let now = crate::read_sysreg!("cntpct_el0") / crate::read_sysreg!("cntfrq_el0").max(1);
    if SECOND.swap(now, Ordering::Relaxed) != now {
        let last = LINES.swap(0, Ordering::Relaxed);
        if last > REFUSALS_A_SECOND {
            log::warn!("{} more refusals were not logged", last - REFUSALS_A_SECOND);
        }
    }
    if LINES.fetch_add(1, Ordering::Relaxed) < REFUSALS_A_SECOND {
        log::warn!("{line}");
    }
}
