// SPDX-License-Identifier: GPL-2.0-only
//! The few system calls of Linux that the probe needs.

use core::arch::asm;
use core::ffi::CStr;

// Numbers and flags: the kernel's include/uapi/asm-generic.
const OPENAT: usize = 56;
const WRITE: usize = 64;
const EXIT_GROUP: usize = 94;
const CLOCK_GETTIME: usize = 113;
const SCHED_SETPARAM: usize = 118;
const MMAP: usize = 222;

const AT_FDCWD: usize = -100_isize as usize;
const O_RDWR: usize = 2;
/// On /dev/mem it asks for a mapping without caches, whatever Linux takes the address for.
const O_SYNC: usize = 0o4_010_000;
const PROT_READ_WRITE: usize = 3;
const MAP_SHARED: usize = 1;
const CLOCK_REALTIME: usize = 0;
const THIS_THREAD: usize = 0;

/// An open file.
#[derive(Clone, Copy)]
pub struct Fd(usize);

impl Fd {
    pub const STDOUT: Self = Self(1);
}

/// A system call's error number.
#[derive(Clone, Copy)]
pub struct Errno(pub usize);

fn call(number: usize, arguments: [usize; 6]) -> Result<usize, Errno> {
    let [a, b, c, d, e, f] = arguments;
    let result: isize;
    // SAFETY: the kernel keeps all registers but x0; the memory that a call touches is checked by the callers below.
    unsafe {
        asm!("svc #0", in("x8") number, inlateout("x0") a => result, in("x1") b, in("x2") c, in("x3") d, in("x4") e,
            in("x5") f, options(nostack));
    }
    if result < 0 {
        Err(Errno(result.unsigned_abs()))
    } else {
        Ok(result.unsigned_abs())
    }
}

/// Opens `path` for reading and writing.
pub fn open_read_write(path: &CStr) -> Result<Fd, Errno> {
    call(OPENAT, [AT_FDCWD, path.as_ptr() as usize, O_RDWR | O_SYNC, 0, 0, 0]).map(Fd)
}

/// Writes `bytes`.
pub fn write(fd: Fd, bytes: &[u8]) -> Result<usize, Errno> {
    call(WRITE, [fd.0, bytes.as_ptr() as usize, bytes.len(), 0, 0, 0])
}

/// Has the kernel read a scheduling priority from `parameter`, which need not be memory of this program's.
pub fn set_own_scheduling(parameter: *const u32) -> Result<usize, Errno> {
    call(SCHED_SETPARAM, [THIS_THREAD, parameter as usize, 0, 0, 0, 0])
}

/// Has the kernel write the time, 16 bytes, to `destination`, which must be no memory of Rust's.
pub fn real_time(destination: *mut u8) -> Result<usize, Errno> {
    call(CLOCK_GETTIME, [CLOCK_REALTIME, destination as usize, 0, 0, 0, 0])
}

/// Maps `length` bytes of `fd` from `offset`, shared, for reading and writing.
pub fn map_shared(fd: Fd, offset: usize, length: usize) -> Result<*mut u8, Errno> {
    call(MMAP, [0, length, PROT_READ_WRITE, MAP_SHARED, fd.0, offset]).map(|address| address as *mut u8)
}

/// Ends the program.
pub fn exit(status: usize) -> ! {
    let _ = call(EXIT_GROUP, [status, 0, 0, 0, 0, 0]);
    unreachable!("exit_group returns only on error, and has none")
}
