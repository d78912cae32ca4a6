//! Several replicas, and everything that can happen between two of them.
//!
//! Every check here returns what does not hold, so that it can be run with a planted bug and be asked for that. How much
//! is done says `REKEY_CHAOS_ROUNDS`: rounds, histories, or seconds.

mod beginning;
mod clocks;
mod etags;
mod fleet;
mod guesses;
mod hammer;
mod history;
mod search;
mod sequential;
mod stopped;
mod versions;
