//! How connections share the processors while they write: a long answer is encrypted and handed to the kernel a portion at a
//! time, by one connection fewer at once than there are processors, in turn. A short answer waits for none of that.
//!
//! Without this, a connection goes on writing for as long as its socket takes bytes, and an answer of a few hundred bytes
//! waits behind every long one that could be written at the moment. Must never know what is written.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that a connection writes at its turn.
const PORTION_BYTES: usize = 128 << 10;
/// Bytes that a connection which was quiet writes without a turn.
const FREE_BYTES: usize = 64 << 10;
/// Time in which a connection earns [`FREE_BYTES`] again.
const FREE_EVERY: Duration = Duration::from_millis(16);

/// The turns that all connections share.
#[derive(Debug)]
pub struct Turns {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    free: usize,
    /// Numbers connections.
    next: u64,
    /// Who waits, in order; at most one entry for each connection.
    waiting: VecDeque<(u64, Waker)>,
    /// Who was given a turn and has not been polled since.
    granted: Vec<u64>,
}

impl Turns {
    /// So many connections write long answers at once.
    pub fn new(turns: usize) -> Arc<Self> {
        let state = State { free: turns.max(1), next: 0, waiting: VecDeque::new(), granted: Vec::new() };
        Arc::new(Self { state: Mutex::new(state) })
    }

    /// A stream that writes in turn, and what ends its turn.
    pub fn join<S>(self: &Arc<Self>, stream: S) -> (Paced<S>, Arc<Place>) {
        let mut state = self.state.lock();
        state.next += 1;
        let place = Place { turns: self.clone(), id: state.next, turn: Mutex::new(Turn::None) };
        drop(state);
        let place = Arc::new(place);
        (Paced { stream, place: place.clone(), budget: FREE_BYTES, earned: Instant::now() }, place)
    }
}

/// What a connection has of the turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    None,
    /// It stands in the queue, or was given a turn that it has not noticed.
    Waits,
    /// It may write so many bytes.
    Has(usize),
    /// The stream has left the connection, as one does that is upgraded: nobody drives it, and it waits for nobody.
    Left,
}

/// A connection's place among the others.
#[derive(Debug)]
pub struct Place {
    turns: Arc<Turns>,
    id: u64,
    turn: Mutex<Turn>,
}

impl Place {
    /// Drives the connection; a turn lasts for one poll of it.
    pub async fn drive<F: Future>(&self, connection: F) -> F::Output {
        let mut connection = pin!(connection);
        let output = poll_fn(|context| {
            let granted = self.is_granted();
            let polled = connection.as_mut().poll(context);
            self.end_turn(granted);
            polled
        })
        .await;
        self.leave(Turn::Left);
        output
    }

    fn is_granted(&self) -> bool {
        *self.turn.lock() == Turn::Waits && self.turns.state.lock().granted.contains(&self.id)
    }

    /// Bytes that may be written now; without any the connection is woken at its turn.
    fn portion(&self, context: &Context<'_>) -> Option<usize> {
        let mut turn = self.turn.lock();
        match *turn {
            Turn::Has(0) => {
                // Whoever waits comes first.
                let mut state = self.turns.state.lock();
                state.free += 1;
                state.waiting.push_back((self.id, context.waker().clone()));
                let woken = state.serve();
                *turn = Turn::Waits;
                drop((state, turn));
                wake(woken);
                return None;
            }
            Turn::Has(left) => return Some(left),
            Turn::Left => return Some(PORTION_BYTES),
            Turn::None | Turn::Waits => {}
        }
        let mut state = self.turns.state.lock();
        if let Some(at) = state.granted.iter().position(|id| *id == self.id) {
            state.granted.swap_remove(at);
        } else if *turn == Turn::None && state.free > 0 {
            state.free -= 1;
        } else if let Some((_, waker)) = state.waiting.iter_mut().find(|(id, _)| *id == self.id) {
            waker.clone_from(context.waker());
            return None;
        } else {
            state.waiting.push_back((self.id, context.waker().clone()));
            *turn = Turn::Waits;
            return None;
        }
        *turn = Turn::Has(PORTION_BYTES);
        Some(PORTION_BYTES)
    }

    fn spend(&self, bytes: usize) {
        let mut turn = self.turn.lock();
        if let Turn::Has(left) = *turn {
            *turn = Turn::Has(left.saturating_sub(bytes));
        }
    }

    /// Gives back the turn, if there is one; also one that was `granted` before the poll and that the poll had no use for.
    fn end_turn(&self, granted: bool) {
        let has = matches!(*self.turn.lock(), Turn::Has(_));
        if has || (granted && self.is_granted()) {
            self.leave(Turn::None);
        }
    }

    /// Gives back what there is, and takes up `turn`.
    fn leave(&self, turn: Turn) {
        let was = std::mem::replace(&mut *self.turn.lock(), turn);
        let mut state = self.turns.state.lock();
        let mut woken = Vec::new();
        match was {
            Turn::Has(_) => state.free += 1,
            Turn::Waits => {
                if let Some(at) = state.waiting.iter().position(|(id, _)| *id == self.id) {
                    // Whoever has the stream by now need not wait any more.
                    woken.extend(state.waiting.remove(at).map(|(_, waker)| waker));
                }
                if let Some(at) = state.granted.iter().position(|id| *id == self.id) {
                    state.granted.swap_remove(at);
                    state.free += 1;
                }
            }
            Turn::None | Turn::Left => return,
        }
        woken.extend(state.serve());
        drop(state);
        wake(woken);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave(Turn::Left);
    }
}

impl State {
    /// Gives free turns to those who wait; who got one is to be woken once nothing is locked.
    fn serve(&mut self) -> Vec<Waker> {
        let served = self.free.min(self.waiting.len());
        self.free -= served;
        let (ids, wakers): (Vec<_>, Vec<_>) = self.waiting.drain(..served).unzip();
        self.granted.extend(ids);
        wakers
    }
}

fn wake(wakers: Vec<Waker>) {
    wakers.into_iter().for_each(Waker::wake);
}

/// A stream that writes long answers in turn with others. It is to be driven by [`Place::drive`].
#[derive(Debug)]
pub struct Paced<S> {
    stream: S,
    place: Arc<Place>,
    /// Bytes that may be written without a turn.
    budget: usize,
    earned: Instant,
}

impl<S> Paced<S> {
    /// How much of `wanted` may be written now.
    fn allowed(&mut self, wanted: usize, context: &Context<'_>) -> Option<usize> {
        if self.budget < wanted {
            let part = self.earned.elapsed().as_secs_f64() / FREE_EVERY.as_secs_f64();
            self.budget = FREE_BYTES.min(self.budget.saturating_add((part * FREE_BYTES as f64) as usize));
            self.earned = Instant::now();
        }
        if self.budget >= wanted {
            return Some(wanted);
        }
        self.place.portion(context)
    }

    fn wrote(&mut self, bytes: usize) {
        match self.budget.checked_sub(bytes) {
            Some(left) => self.budget = left,
            None => self.place.spend(bytes),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Some(most) = self.allowed(bytes.len(), context) else { return Poll::Pending };
        let part = &bytes[..most.min(bytes.len())];
        let polled = Pin::new(&mut self.stream).poll_write(context, part);
        if let Poll::Ready(Ok(written)) = polled {
            self.wrote(written);
        }
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wanted = parts.iter().map(|p| p.len()).sum();
        let Some(most) = self.allowed(wanted, context) else { return Poll::Pending };
        let polled = match whole_parts(parts, most) {
            0 => {
                let first = parts.iter().find(|p| !p.is_empty()).map_or(&[][..], |p| &p[..most.min(p.len())]);
                Pin::new(&mut self.stream).poll_write(context, first)
            }
            whole => Pin::new(&mut self.stream).poll_write_vectored(context, &parts[..whole]),
        };
        if let Poll::Ready(Ok(written)) = polled {
            self.wrote(written);
        }
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// How many of the parts fit into so many bytes; none if that is nothing but empty ones.
fn whole_parts(parts: &[IoSlice<'_>], bytes_max: usize) -> usize {
    let (mut bytes, mut whole) = (0, 0);
    for part in parts {
        bytes += part.len();
        if bytes > bytes_max {
            break;
        }
        whole += 1;
    }
    if parts[..whole].iter().all(|part| part.is_empty()) { 0 } else { whole }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::io::AsyncWriteExt as _;

    /// Takes everything, and counts in which order portions come.
    struct Sink {
        name: usize,
        log: Arc<Mutex<Vec<(usize, usize)>>>,
    }

    impl AsyncWrite for Sink {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.log.lock().push((self.name, bytes.len()));
            Poll::Ready(Ok(bytes.len()))
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn of_parts_those_are_written_that_fit() {
        for (sizes, most, wanted) in [
            (&[][..], 10, 0),
            (&[4, 4], 8, 2),
            (&[4, 5], 8, 1),
            (&[9, 1], 8, 0),
            (&[0, 9], 8, 0),
            (&[0, 8, 0, 1], 8, 3),
        ] {
            let bytes = [0; 16];
            let parts: Vec<IoSlice<'_>> = sizes.iter().map(|size| IoSlice::new(&bytes[..*size])).collect();
            assert_eq!(whole_parts(&parts, most), wanted, "{sizes:?}");
        }
    }

    fn free(turns: &Turns) -> (usize, usize, usize) {
        let state = turns.state.lock();
        (state.free, state.waiting.len(), state.granted.len())
    }

    #[tokio::test]
    async fn long_answers_are_written_by_portions_in_turn_and_short_ones_between_them() {
        let (turns, log) = (Turns::new(1), Arc::new(Mutex::new(Vec::new())));
        let mut tasks = tokio::task::JoinSet::new();
        for name in 0..3 {
            let (mut stream, place) = turns.join(Sink { name, log: log.clone() });
            let long = vec![0; if name == 2 { 1000 } else { 1 << 20 }];
            tasks.spawn(async move { place.drive(async move { stream.write_all(&long).await }).await });
        }
        while let Some(ended) = tasks.join_next().await {
            ended.expect("task").expect("write");
        }
        let log = std::mem::take(&mut *log.lock());
        for (name, bytes) in [(0, 1 << 20), (1, 1 << 20), (2, 1000)] {
            assert_eq!(log.iter().filter(|(n, _)| *n == name).map(|(_, b)| b).sum::<usize>(), bytes);
        }
        assert!(log.iter().all(|(_, bytes)| *bytes <= PORTION_BYTES), "{log:?}");
        let short = log.iter().position(|(name, _)| *name == 2).expect("short");
        assert!(short <= 3, "the short answer waited: {log:?}");
        let both = log.iter().rposition(|(name, _)| *name == 0).min(log.iter().rposition(|(name, _)| *name == 1));
        assert!(both > Some(log.len() / 2), "one was written before the other: {log:?}");
        assert_eq!(free(&turns), (1, 0, 0));
    }

    #[tokio::test]
    async fn a_connection_that_ends_in_the_queue_or_in_its_turn_leaves_nothing_behind() {
        let (turns, log) = (Turns::new(1), Arc::new(Mutex::new(Vec::new())));
        let polls = AtomicUsize::new(0);
        let (mut first, first_place) = turns.join(Sink { name: 0, log: log.clone() });
        let (mut second, second_place) = turns.join(Sink { name: 1, log: log.clone() });
        let long = vec![0; 1 << 20];
        // One poll each by hand: the first has the turn in its poll only; the second then waits in the queue.
        let mut waker = Context::from_waker(Waker::noop());
        let held = first_place.portion(&waker);
        assert_eq!(held, Some(PORTION_BYTES));
        assert!(Pin::new(&mut second).poll_write(&mut waker, &long).is_pending());
        assert_eq!(free(&turns), (0, 1, 0));
        first_place.end_turn(false);
        assert_eq!(free(&turns), (0, 0, 1), "the one that waited was given the turn");
        drop((second, second_place));
        assert_eq!(free(&turns), (1, 0, 0));
        // What is upgraded goes on without turns.
        first_place.drive(async { polls.fetch_add(1, Ordering::Relaxed) }).await;
        first.write_all(&long).await.expect("write");
        assert_eq!(free(&turns), (1, 0, 0));
    }
}
