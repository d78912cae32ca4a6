//! The order in which blocks are filled, and what each is made from (RFC 9106 sections 3.2 to 3.4).

use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

use ::argon2::{Algorithm, Block, Error, Params, Result};
use zeroize::Zeroizing;

use super::blake;

/// Synchronisation points: slices of a pass.
const SLICES: usize = 4;
/// Words of a block, and addresses in a block of them.
const WORDS: usize = 128;
/// Words of a cache line.
const LINE: usize = 8;

/// What a kernel brings.
#[derive(Clone, Copy)]
pub(super) struct Vectors {
    /// Compresses the first two blocks into the third, onto its former content (by XOR) where the last argument is true.
    pub(super) compress: fn(&Block, &Block, &mut Block, bool),
    /// Where in its blocks the RFC's word of this number lies. The first is the first.
    pub(super) position: fn(usize) -> usize,
}

/// One hash's way through the memory.
pub(super) struct Walk<'a> {
    vectors: Vectors,
    algorithm: Algorithm,
    passes: usize,
    lanes: usize,
    lane_length: usize,
    segment_length: usize,
    memory: &'a mut [Block],
}

/// What is filled without a look at other lanes: one lane's part of a slice.
#[derive(Clone, Copy)]
struct Segment {
    pass: usize,
    slice: usize,
    lane: usize,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        vectors: Vectors,
        algorithm: Algorithm,
        params: &Params,
        memory: &'a mut [Block],
    ) -> Result<Self> {
        let memory = memory.get_mut(..params.block_count()).ok_or(Error::MemoryTooLittle)?;
        let passes = usize::try_from(params.t_cost()).map_err(|_too_wide| Error::TimeTooSmall)?;
        let lanes = usize::try_from(params.p_cost()).map_err(|_too_wide| Error::ThreadsTooMany)?;
        let lane_length = memory.len() / lanes;
        Ok(Self { vectors, algorithm, passes, lanes, lane_length, segment_length: lane_length / SLICES, memory })
    }

    /// From H0 to the tag: steps 3 to 8.
    pub(super) fn run(mut self, initial_hash: &[u8; 64], tag: &mut [u8]) -> Result<()> {
        self.begin(initial_hash)?;
        for pass in 0..self.passes {
            for slice in 0..SLICES {
                for lane in 0..self.lanes {
                    self.fill(Segment { pass, slice, lane })?;
                }
            }
        }
        self.finish(tag)
    }

    /// The first two blocks of each lane.
    fn begin(&mut self, initial_hash: &[u8; 64]) -> Result<()> {
        let mut seed = Zeroizing::new([0; 72]);
        let mut bytes = Zeroizing::new([0; Block::SIZE]);
        for (lane, blocks) in (0_u32..).zip(self.memory.chunks_exact_mut(self.lane_length)) {
            for (number, block) in (0_u32..2).zip(blocks) {
                let input = initial_hash.iter().copied().chain(number.to_le_bytes()).chain(lane.to_le_bytes());
                seed.iter_mut().zip(input).for_each(|(to, from)| *to = from);
                blake::hash_long(&*seed, &mut *bytes)?;
                let (words, _) = bytes.as_chunks();
                for (index, word) in words.iter().enumerate() {
                    if let Some(place) = block.as_mut().get_mut((self.vectors.position)(index)) {
                        *place = u64::from_le_bytes(*word);
                    }
                }
            }
        }
        Ok(())
    }

    /// The hash of all lanes' last blocks, put together by XOR.
    fn finish(self, tag: &mut [u8]) -> Result<()> {
        let mut last = Zeroizing::new(Block::new());
        for block in self.memory.chunks_exact(self.lane_length).filter_map(<[Block]>::last) {
            *last ^= block;
        }
        let mut bytes = Zeroizing::new([0; Block::SIZE]);
        let (words, _) = bytes.as_chunks_mut();
        for (index, word) in words.iter_mut().enumerate() {
            *word = word_of(&last, (self.vectors.position)(index)).to_le_bytes();
        }
        blake::hash_long(&*bytes, tag)
    }

    fn fill(&mut self, segment: Segment) -> Result<()> {
        let Segment { pass, slice, lane } = segment;
        let start = lane * self.lane_length + slice * self.segment_length;
        let first = if pass == 0 && slice == 0 { 2 } else { 0 };
        let before = if first == 0 && slice == 0 { start + self.lane_length - 1 } else { start + first - 1 };
        let independent = match self.algorithm {
            Algorithm::Argon2d => false,
            Algorithm::Argon2i => true,
            Algorithm::Argon2id => pass == 0 && slice < SLICES / 2,
        };
        if independent {
            self.fill_by_counter(segment, start, first, before)
        } else {
            self.fill_by_content(segment, start, first, before)
        }
    }

    /// Data-dependent addressing: the block before says from where.
    fn fill_by_content(&mut self, segment: Segment, start: usize, first: usize, mut previous: usize) -> Result<()> {
        for index in first..self.segment_length {
            let address = self.memory.get(previous).map_or(0, |block| word_of(block, 0));
            let reference = self.reference(segment, index, address);
            self.compress(previous, reference, start + index, segment.pass > 0)?;
            previous = start + index;
        }
        Ok(())
    }

    /// Data-independent addressing: a counter says from where, so the next one can be fetched ahead of its turn.
    fn fill_by_counter(&mut self, segment: Segment, start: usize, first: usize, mut previous: usize) -> Result<()> {
        let mut addresses = Block::new();
        let mut address = |walk: &Self, index: usize| {
            if index.is_multiple_of(WORDS) || index == first {
                addresses = walk.addresses(segment, index / WORDS + 1);
            }
            word_of(&addresses, (walk.vectors.position)(index % WORDS))
        };
        let mut reference = self.reference(segment, first, address(self, first));
        for index in first..self.segment_length {
            let mut next = reference;
            if index + 1 < self.segment_length {
                next = self.reference(segment, index + 1, address(self, index + 1));
                self.memory.get(next).into_iter().for_each(prefetch);
            }
            self.compress(previous, reference, start + index, segment.pass > 0)?;
            (previous, reference) = (start + index, next);
        }
        Ok(())
    }

    fn compress(&mut self, previous: usize, reference: usize, current: usize, xor: bool) -> Result<()> {
        // Never the same block twice, and always one of ours: section 3.4.
        let [previous, reference, current] =
            self.memory.get_disjoint_mut([previous, reference, current]).map_err(|_never| Error::MemoryTooLittle)?;
        (self.vectors.compress)(previous, reference, current, xor);
        Ok(())
    }

    /// A block of addresses, counted from 1 (section 3.4.1.2).
    fn addresses(&self, segment: Segment, counter: usize) -> Block {
        let Segment { pass, slice, lane } = segment;
        let words = [pass, lane, slice, self.memory.len(), self.passes, self.algorithm as usize, counter];
        let zero = Block::new();
        let mut input = Block::new();
        for (index, word) in words.into_iter().enumerate() {
            if let Some(place) = input.as_mut().get_mut((self.vectors.position)(index)) {
                *place = word as u64;
            }
        }
        let mut addresses = Block::new();
        (self.vectors.compress)(&zero, &input, &mut addresses, false);
        (self.vectors.compress)(&zero, &addresses, &mut input, false);
        input
    }

    /// The block that an address means at this place (section 3.4.2).
    #[inline]
    fn reference(&self, segment: Segment, index: usize, address: u64) -> usize {
        let Segment { pass, slice, lane } = segment;
        let (low, high) = (address & 0xffff_ffff, (address >> 32) as usize);
        let from = if self.lanes == 1 || pass == 0 && slice == 0 { lane } else { high % self.lanes };
        let finished = if pass == 0 { slice * self.segment_length } else { self.lane_length - self.segment_length };
        let area = if from == lane { finished + index - 1 } else { finished - usize::from(index == 0) };
        let start = if pass == 0 || slice + 1 == SLICES { 0 } else { (slice + 1) * self.segment_length };
        let back = ((area as u64 * ((low * low) >> 32)) >> 32) as usize;
        let place = start + area - 1 - back;
        from * self.lane_length + if place < self.lane_length { place } else { place - self.lane_length }
    }
}

#[inline]
fn word_of(block: &Block, place: usize) -> u64 {
    block.as_ref().get(place).copied().unwrap_or_default()
}

#[inline]
fn prefetch(block: &Block) {
    for line in block.as_ref().chunks_exact(LINE) {
        // SAFETY: a hint, which reads nothing; SSE is part of x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
}
