//! One direction of a stream between two threads: a bounded ring of bytes, and an end that is never mistaken.
//!
//! ```text
//! writer --poll_fill--> [ring of PIPE_SIZE] --poll_drain--> reader
//!        --end(Ok | Err)------------------------------->    end, or the error
//! ```

use crate::host::error::Error;
use core::task::{Context, Poll, Waker};
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes that wait in one direction of a stream; a writer with more waits.
pub(super) const PIPE_SIZE: usize = 64 * 1024;

#[derive(Default)]
struct State {
    ring: VecDeque<u8>,
    /// Set by the writer: nothing follows what is in the ring.
    end: Option<Result<(), Error>>,
    /// The reader is gone.
    abandoned: bool,
    /// The writer waits for room.
    full: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

type Shared = Arc<Mutex<State>>;

fn lock(shared: &Shared) -> MutexGuard<'_, State> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where bytes go in.
pub(super) struct PipeWriter {
    shared: Shared,
    /// How the pipe ends when the writer is dropped before [`PipeWriter::end`].
    at_drop: fn() -> Result<(), Error>,
}

/// Where they come out.
pub(super) struct PipeReader(Shared);

/// What a reader or writer was told instead of bytes.
pub(super) enum Moved {
    /// The number of bytes moved.
    Bytes(usize),
    /// The other side is done: the end for a reader, a reader that is gone for a writer.
    End,
}

pub(super) fn pipe(at_drop: fn() -> Result<(), Error>) -> (PipeWriter, PipeReader) {
    let shared = Shared::default();
    (PipeWriter { shared: shared.clone(), at_drop }, PipeReader(shared))
}

impl PipeWriter {
    /// Writes what there is room for.
    pub(super) fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Moved> {
        let mut state = lock(&self.shared);
        if state.abandoned {
            return Poll::Ready(Moved::End);
        }
        let room = PIPE_SIZE.saturating_sub(state.ring.len()).min(bytes.len());
        if room == 0 && !bytes.is_empty() {
            (state.writer, state.full) = (Some(cx.waker().clone()), true);
            return Poll::Pending;
        }
        state.ring.extend(bytes.get(..room).unwrap_or_default());
        wake(state.reader.take(), state);
        Poll::Ready(Moved::Bytes(room))
    }

    /// How many bytes there is room for; waits for room.
    pub(super) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<Moved> {
        let mut state = lock(&self.shared);
        if state.abandoned {
            return Poll::Ready(Moved::End);
        }
        // Woken when the reader goes, whatever else the writer waits for.
        state.writer = Some(cx.waker().clone());
        let room = PIPE_SIZE.saturating_sub(state.ring.len());
        state.full = room == 0;
        if state.full { Poll::Pending } else { Poll::Ready(Moved::Bytes(room)) }
    }

    /// Ends the pipe, the first time it is called.
    pub(super) fn end(&self, how: Result<(), Error>) {
        let mut state = lock(&self.shared);
        state.end.get_or_insert(how);
        wake(state.reader.take(), state);
    }
}

impl Drop for PipeWriter {
    fn drop(&mut self) {
        self.end((self.at_drop)());
    }
}

impl PipeReader {
    /// Hands what is there to `take`, which says how many bytes of it it used.
    pub(super) fn poll_drain(
        &self,
        cx: &mut Context<'_>,
        take: impl FnOnce(&mut Context<'_>, &[u8]) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<Moved>> {
        let mut state = lock(&self.0);
        let (front, _) = state.ring.as_slices();
        if front.is_empty() {
            return match &state.end {
                Some(Ok(())) => Poll::Ready(Ok(Moved::End)),
                Some(Err(why)) => Poll::Ready(Err(why.clone().into())),
                None => {
                    state.reader = Some(cx.waker().clone());
                    Poll::Pending
                }
            };
        }
        match take(cx, front) {
            Poll::Ready(Ok(n)) => {
                state.ring.drain(..n);
                if state.ring.is_empty() {
                    // An idle stream holds no buffer.
                    state.ring = VecDeque::new();
                }
                let waits = core::mem::take(&mut state.full);
                wake(waits.then(|| state.writer.take()).flatten(), state);
                Poll::Ready(Ok(Moved::Bytes(n)))
            }
            Poll::Ready(Err(why)) => Poll::Ready(Err(why)),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl PipeReader {
    /// Why the pipe broke, where it did.
    pub(super) fn failure(&self) -> Option<Error> {
        lock(&self.0).end.clone().and_then(Result::err)
    }
}

impl Drop for PipeReader {
    fn drop(&mut self) {
        let mut state = lock(&self.0);
        state.abandoned = true;
        state.ring = VecDeque::new();
        wake(state.writer.take(), state);
    }
}

/// Wakes without holding the lock: who is woken may run at once and want it.
fn wake(waker: Option<Waker>, state: MutexGuard<'_, State>) {
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::error::ErrorKind;

    fn context(then: impl FnOnce(&mut Context<'_>)) {
        then(&mut Context::from_waker(Waker::noop()));
    }

    fn read(reader: &PipeReader, cx: &mut Context<'_>, most: usize) -> Poll<io::Result<usize>> {
        reader.poll_drain(cx, |_, bytes| Poll::Ready(Ok(bytes.len().min(most)))).map_ok(|moved| match moved {
            Moved::Bytes(n) => n,
            Moved::End => 0,
        })
    }

    #[test]
    fn a_pipe_is_bounded_and_drains() {
        context(|cx| {
            let (writer, reader) = pipe(|| Ok(()));
            let fill = vec![7; PIPE_SIZE + 1];
            assert!(matches!(writer.poll_write(cx, &fill), Poll::Ready(Moved::Bytes(PIPE_SIZE))));
            assert!(matches!(writer.poll_write(cx, &fill), Poll::Pending));
            assert!(matches!(read(&reader, cx, 10), Poll::Ready(Ok(10))));
            assert!(matches!(writer.poll_room(cx), Poll::Ready(Moved::Bytes(10))));
        });
    }

    #[test]
    fn what_was_written_comes_before_the_end_and_the_error() {
        context(|cx| {
            let (writer, reader) = pipe(|| Ok(()));
            assert!(matches!(writer.poll_write(cx, b"abc"), Poll::Ready(Moved::Bytes(3))));
            writer.end(Err(Error::new(ErrorKind::Reset, "broken")));
            drop(writer);
            assert!(matches!(read(&reader, cx, 9), Poll::Ready(Ok(3))));
            let Poll::Ready(Err(why)) = read(&reader, cx, 9) else { panic!("an error, not an end") };
            assert_eq!(why.kind(), io::ErrorKind::ConnectionReset);
        });
    }

    #[test]
    fn a_writer_learns_that_nobody_reads() {
        context(|cx| {
            let (writer, reader) = pipe(|| Ok(()));
            drop(reader);
            assert!(matches!(writer.poll_write(cx, b"abc"), Poll::Ready(Moved::End)));
        });
    }
}
