// SPDX-License-Identifier: GPL-2.0-only
//! What a random walk draws its steps from.

use super::action::{Action, Offer};
use super::arena::Arena;
use super::random::Random;
use super::world::World;
use crate::constants::PAGE_SIZE;

/// The steps of an arena, by transition, those more often that matter more.
#[derive(Clone, Debug)]
pub struct Deck<'a> {
    arena: &'a Arena,
    kinds: Vec<Vec<Action>>,
}

impl<'a> Deck<'a> {
    /// Of an arena.
    pub fn new(arena: &'a Arena) -> Self {
        let mut kinds = vec![];
        for actions in arena.actions().into_values() {
            // Few attempts to run a vCPU succeed, and much can only happen while one runs.
            let times = match actions[0] {
                Action::Run { .. } => 6,
                Action::Touch { .. } | Action::Assign { .. } | Action::Map { .. } | Action::Load { .. } => 2,
                _ => 1,
            };
            (0..times).for_each(|_| kinds.push(actions.clone()));
        }
        Self { arena, kinds }
    }

    /// Draws a step that the world allows.
    pub fn draw(&self, world: &World, random: &mut Random) -> Action {
        loop {
            let actions = &self.kinds[random.below(self.kinds.len())];
            let action = random.pick(actions);
            if self.arena.allows(world, &action) {
                return action;
            }
        }
    }

    /// The same, sometimes with an argument that the arena does not know.
    pub fn draw_odd(&self, world: &World, random: &mut Random) -> Action {
        loop {
            let mut action = self.draw(world, random);
            if random.one_in(8) {
                vary(&mut action, random);
            }
            if self.arena.allows(world, &action) {
                return action;
            }
        }
    }
}

/// Replaces an argument.
fn vary(action: &mut Action, random: &mut Random) {
    const EDGES: [u64; 12] =
        [0, 1, 2, 16, 17, 4095, 0x4_0000, 0x4000_0000, 0x4001_0000, (1 << 40) - 4096, (1 << 48) - 1, u64::MAX];
    let value = if random.one_in(4) { random.number() >> random.below(64) } else { random.pick(&EDGES) };
    match action {
        // The length of a range stays: the specification's loops are as long as it says.
        Action::Call { x } if [14, 23].contains(&x[0]) => x[1 + random.below(2)] = value,
        Action::Call { x } => x[1 + random.below(5)] = value,
        Action::Touch { addr } => *addr = value,
        Action::Assign { gfn, .. } => *gfn = value,
        Action::Map { iova, .. } => *iova = value,
        Action::Run { vcpuid, offer, .. } => match offer {
            Some(Offer { addr, .. }) => *addr = value,
            None => *vcpuid = value,
        },
        Action::Exit { x, hpfar, .. } => {
            *hpfar = value;
            x[2] = x[2] / PAGE_SIZE * PAGE_SIZE + value % PAGE_SIZE;
        }
        Action::Fault { hpfar, data, .. } => (*hpfar, *data) = (value, random.number()),
        Action::Load { gfn, .. } | Action::Store { gfn, .. } => *gfn = value,
        Action::DevLoad { gfn, .. } | Action::DevStore { gfn, .. } => *gfn = value,
        Action::Unseal { .. } | Action::Switch => {}
    }
}
