//! What the scheduler is told about threads.

use std::io;

use rustix::process::{getpriority_process, setpriority_process};

/// Has this thread step back behind the others of the process, now and for good: it runs in what they leave, and a little more, so that it
/// never starves. `niceness`: 1 for hardly to 19 for all the way.
pub fn step_back(niceness: u8) -> io::Result<()> {
    // For Linux a thread is what priorities are of, and nobody in particular is the one that asks.
    Ok(setpriority_process(None, getpriority_process(None)?.saturating_add(niceness.into()))?)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_thread_steps_back_alone() {
        let before = getpriority_process(None).unwrap();
        let stepped = thread::spawn(|| step_back(3).and_then(|()| Ok(getpriority_process(None)?)));
        assert_eq!(stepped.join().unwrap().unwrap(), (before + 3).min(19));
        assert_eq!(getpriority_process(None).unwrap(), before);
    }
}
