//! Writes the beginning of a story to the console of a debugger or an emulator, by `itera-core` without `std`.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::{boxed::Box, string::String};
use core::{error::Error, mem::MaybeUninit, panic::PanicInfo};

use cortex_m_rt::entry;
use cortex_m_semihosting::{debug, hprint, hprintln};
use embedded_alloc::LlffHeap as Heap;
use itera_core::{
    checkpoint::Checkpoint,
    model::Model,
    sampling::{Sampler, SamplingConfig},
};

/// What ships as micro-tinystories, at 4 bits; it stays in flash.
static CHECKPOINT: &[u8] =
    include_bytes!("../../../data/models/micro-tinystories.int4.safetensors");

const PROMPT: &str = "Once upon a time";
const TOKENS: usize = 20;

/// Bytes of RAM for the checkpoint's tensors while the model is made of them, and for what lives on.
const HEAP_BYTES: usize = 960 << 10;

#[global_allocator]
static HEAP: Heap = Heap::empty();

#[entry]
fn main() -> ! {
    static mut MEMORY: [MaybeUninit<u8>; HEAP_BYTES] = [MaybeUninit::uninit(); HEAP_BYTES];
    // SAFETY: called once, before the first allocation, and nothing else has the memory.
    unsafe { HEAP.init(MEMORY.as_mut_ptr() as usize, HEAP_BYTES) }
    match story() {
        Ok(()) => debug::exit(debug::EXIT_SUCCESS),
        Err(error) => {
            hprintln!("{}", error);
            debug::exit(debug::EXIT_FAILURE);
        }
    }
    unreachable!("the program has ended")
}

fn story() -> Result<(), Box<dyn Error>> {
    let (model, tokenizer) = {
        let checkpoint = Checkpoint::from_bytes(CHECKPOINT)?;
        (Model::from_checkpoint(&checkpoint)?, checkpoint.tokenizer)
    };
    let (mut state, mut work) = (model.new_state(), model.new_workspace());
    let mut sampler = Sampler::new(SamplingConfig {
        temperature: 0.8,
        top_k: Some(40),
        seed: 1,
        ..SamplingConfig::default()
    })?;

    let mut read = tokenizer.encode(PROMPT.as_bytes())?;
    read.insert(0, tokenizer.end_of_text());
    hprint!("{}", PROMPT);
    for _ in 0..TOKENS {
        let logits = model.prefill(&read, &mut state, &mut work);
        let token = sampler.sample(logits.unwrap_or_default());
        hprint!("{}", String::from_utf8_lossy(&tokenizer.decode(&[token])));
        read = [token].into();
    }
    hprintln!();
    Ok(())
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    hprintln!("{}", info);
    debug::exit(debug::EXIT_FAILURE);
    unreachable!("the program has ended")
}
