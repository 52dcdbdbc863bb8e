// SPDX-License-Identifier: GPL-2.0-only
//! Under shuttle.
