// SPDX-License-Identifier: GPL-2.0-only
//! Calling a specification function by its arguments' positions.

use super::dispatch::Outcome;
use super::script::Arg;
use crate::rdata::RData;

/// A type of arguments.
pub trait FromArg: Sized {
    /// The argument, if it is of this type.
    fn from_arg(arg: &Arg) -> Option<Self>;
}

impl FromArg for u32 {
    fn from_arg(arg: &Arg) -> Option<Self> {
        match arg {
            Arg::Number(n) => u32::try_from(*n).ok(),
            Arg::Name(_) => None,
        }
    }
}

impl FromArg for u64 {
    fn from_arg(arg: &Arg) -> Option<Self> {
        match arg {
            Arg::Number(n) => Some(*n),
            Arg::Name(_) => None,
        }
    }
}

impl FromArg for String {
    fn from_arg(arg: &Arg) -> Option<Self> {
        match arg {
            Arg::Number(_) => None,
            Arg::Name(name) => Some(name.clone()),
        }
    }
}

/// A type of results.
pub trait IntoRet {
    /// The value, if there is one.
    fn into_ret(self) -> Option<u64>;
}

impl IntoRet for () {
    fn into_ret(self) -> Option<u64> {
        None
    }
}

impl IntoRet for u32 {
    fn into_ret(self) -> Option<u64> {
        Some(self.into())
    }
}

impl IntoRet for u64 {
    fn into_ret(self) -> Option<u64> {
        Some(self)
    }
}

/// A function of the state and of arguments of types `A`.
pub trait Callable<A> {
    /// Calls it.
    fn call(self, d: &mut RData, args: &[Arg]) -> Outcome;
}

/// Implements [`Callable`] for one number of arguments.
macro_rules! callable {
    ($($ty:ident $arg:ident),*) => {
        impl<F, R, $($ty),*> Callable<($($ty,)*)> for F
        where
            F: FnOnce(&mut RData, $($ty),*) -> Option<R>,
            R: IntoRet,
            $($ty: FromArg,)*
        {
            fn call(self, d: &mut RData, args: &[Arg]) -> Outcome {
                let [$($arg),*] = args else { return Outcome::BadArguments };
                $(let Some($arg) = $ty::from_arg($arg) else { return Outcome::BadArguments };)*
                self(d, $($arg),*).map_or(Outcome::Undefined, |ret| Outcome::Defined(ret.into_ret()))
            }
        }
    };
}

callable!();
callable!(A a);
callable!(A a, B b);
callable!(A a, B b, C c);
callable!(A a, B b, C c, D e);
callable!(A a, B b, C c, D e, E f);
