// SPDX-License-Identifier: GPL-2.0-only
//! The SMMU's tables, entry by entry.
