//! How connections share the processors while they write: a long answer is encrypted and handed to the kernel a portion at a
//! time, in turn, by threads apart, of which there is one fewer than there are processors. A short answer waits for none of
//! that.
//!
//! Without this, a connection goes on writing for as long as its socket takes bytes, and an answer of a few hundred bytes
//! waits behind every long one that could be written at the moment. Must never know what is written.

use parking_lot::{Condvar, Mutex};
use std::any::Any;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Handle;

/// Bytes that a connection writes at its turn.
const PORTION_BYTES: usize = 128 << 10;
/// What begins within a portion may end so far after its start: less than a TLS record costs more than it carries.
const RECORD_BYTES: usize = 16 << 10;
/// Bytes that a connection which was quiet writes without a turn.
const FREE_BYTES: usize = 64 << 10;
/// Time in which a connection earns [`FREE_BYTES`] again.
const FREE_EVERY: Duration = Duration::from_millis(16);

/// The threads that write long answers, and who waits for them. Dropped, it ends the threads.
#[derive(Debug)]
pub struct Turns {
    queue: Arc<Queue>,
    writers: Vec<JoinHandle<()>>,
}

/// Connections that have more to write than what is free, in order; each is in it once at most.
#[derive(Debug, Default)]
struct Queue {
    due: Mutex<Due>,
    arrived: Condvar,
}

#[derive(Default)]
struct Due {
    connections: VecDeque<Arc<dyn Drive>>,
    closed: bool,
}

impl std::fmt::Debug for Due {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Due").field("connections", &self.connections.len()).field("closed", &self.closed).finish()
    }
}

/// A connection that can be driven by whoever has it.
trait Drive: Send + Sync {
    /// Drives it once, with leave to write a portion, as a task of `runtime`.
    fn turn(self: Arc<Self>, runtime: &Handle);
}

impl Turns {
    /// So many connections write long answers at once, each on a thread of its own beside those of `runtime`.
    ///
    /// # Errors
    /// If the system starts no thread.
    pub fn new(turns: usize, runtime: &Handle) -> io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let mut this = Self { queue: queue.clone(), writers: Vec::new() };
        for _ in 0..turns.max(1) {
            let (queue, runtime) = (queue.clone(), runtime.clone());
            let writer = std::thread::Builder::new().name("writer".to_owned());
            this.writers.push(writer.spawn(move || queue.serve(&runtime))?);
        }
        Ok(this)
    }

    /// A stream that writes in turn, and its place, by which the connection is to be driven ([`Place::drive`]).
    pub fn join<S>(&self, stream: S) -> (Paced<S>, Arc<Place>) {
        let place =
            Place { queue: self.queue.clone(), standing: Mutex::new(Standing { turn: Turn::None, refused: None }) };
        let place = Arc::new(place);
        (Paced { stream, place: place.clone(), budget: FREE_BYTES, earned: Instant::now() }, place)
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        let mut due = self.queue.due.lock();
        due.closed = true;
        let waiting = std::mem::take(&mut due.connections);
        drop(due);
        drop(waiting);
        self.queue.arrived.notify_all();
        for writer in self.writers.drain(..) {
            if writer.join().is_err() {
                tracing::error!("a thread of long answers panicked");
            }
        }
    }
}

impl Queue {
    /// Gives a turn to one after the other, until the queue is closed.
    fn serve(&self, runtime: &Handle) {
        // What a connection leaves behind may be dropped here, and look for its runtime.
        let _entered = runtime.enter();
        let mut due = self.due.lock();
        while !due.closed {
            match due.connections.pop_front() {
                Some(connection) => {
                    drop(due);
                    connection.turn(runtime);
                    due = self.due.lock();
                }
                None => self.arrived.wait(&mut due),
            }
        }
    }

    fn push(&self, connection: Arc<dyn Drive>) {
        let mut due = self.due.lock();
        if !due.closed {
            due.connections.push_back(connection);
            self.arrived.notify_one();
        }
    }
}

/// What a connection has of the turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    None,
    /// It has more to write than it may.
    Wanted,
    /// It stands in the queue.
    Waits,
    /// It may write so many bytes.
    Has(usize),
    /// The stream has left the connection, as one does that is upgraded: nobody drives it, and it waits for nobody.
    Left,
}

/// A connection's place among the others.
#[derive(Debug)]
pub struct Place {
    queue: Arc<Queue>,
    standing: Mutex<Standing>,
}

#[derive(Debug)]
struct Standing {
    turn: Turn,
    /// Who could not write: it may be somebody else by the time the stream has left.
    refused: Option<Waker>,
}

impl Place {
    /// Drives the connection, on the task of the caller or, when it is its turn to write, on a thread of the turns.
    pub fn drive<F>(self: Arc<Self>, connection: F) -> Driven<F>
    where
        F: Future + Send + 'static,
        F::Output: Send,
    {
        let held = Held::Here(Box::pin(connection));
        Driven(Arc::new(Connection { place: self, state: Mutex::new(State { held, task: None, woken: false }) }))
    }

    /// Bytes that may be written now; none makes the connection want a turn.
    fn portion(&self, context: &Context<'_>) -> Option<usize> {
        let mut standing = self.standing.lock();
        match standing.turn {
            Turn::Has(left) if left > 0 => return Some(left.max(RECORD_BYTES)),
            Turn::Left => return Some(PORTION_BYTES),
            Turn::Waits => {}
            Turn::None | Turn::Wanted | Turn::Has(_) => standing.turn = Turn::Wanted,
        }
        match &mut standing.refused {
            Some(waker) => waker.clone_from(context.waker()),
            refused => *refused = Some(context.waker().clone()),
        }
        None
    }

    fn spend(&self, bytes: usize) {
        if let Turn::Has(left) = &mut self.standing.lock().turn {
            *left = left.saturating_sub(bytes);
        }
    }

    fn begin_turn(&self) {
        self.standing.lock().turn = Turn::Has(PORTION_BYTES);
    }

    /// After the connection was driven: whether it is to stand in the queue now.
    fn queues(&self) -> bool {
        let mut standing = self.standing.lock();
        let (turn, queues) = match standing.turn {
            Turn::Wanted => (Turn::Waits, true),
            Turn::Has(_) => (Turn::None, false),
            turn => (turn, false),
        };
        standing.turn = turn;
        queues
    }

    fn leave(&self) {
        let mut standing = self.standing.lock();
        standing.turn = Turn::Left;
        let refused = standing.refused.take();
        drop(standing);
        if let Some(waker) = refused {
            waker.wake();
        }
    }
}

/// A connection as a future; see [`Place::drive`].
pub struct Driven<F: Future>(Arc<Connection<F>>);

struct Connection<F: Future> {
    place: Arc<Place>,
    state: Mutex<State<F>>,
}

struct State<F: Future> {
    held: Held<F>,
    /// Whom the connection wakes.
    task: Option<Waker>,
    /// The task was woken while the connection was away.
    woken: bool,
}

enum Held<F: Future> {
    Here(Pin<Box<F>>),
    /// A thread of the turns drives it.
    Away,
    /// What it ended with there: its output, or the panic.
    Ended(Result<F::Output, Box<dyn Any + Send>>),
    /// Nobody waits for it any more.
    Gone,
}

impl<F> Future for Driven<F>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let mut state = self.0.state.lock();
        match &mut state.held {
            Held::Here(connection) => {
                let polled = connection.as_mut().poll(context);
                if polled.is_ready() {
                    state.held = Held::Gone;
                    self.0.place.leave();
                    return polled;
                }
            }
            Held::Away => state.woken = true,
            Held::Ended(_) | Held::Gone => {
                return match std::mem::replace(&mut state.held, Held::Gone) {
                    Held::Ended(Ok(output)) => Poll::Ready(output),
                    Held::Ended(Err(panic)) => resume_unwind(panic),
                    _ => Poll::Pending,
                };
            }
        }
        if state.task.as_ref().is_none_or(|task| !task.will_wake(context.waker())) {
            state.task = Some(context.waker().clone());
        }
        let queues = matches!(state.held, Held::Here(_)) && self.0.place.queues();
        drop(state);
        if queues {
            self.0.place.queue.push(self.0.clone());
        }
        Poll::Pending
    }
}

impl<F: Future> Drop for Driven<F> {
    fn drop(&mut self) {
        let held = std::mem::replace(&mut self.0.state.lock().held, Held::Gone);
        // In its turn it ends with that.
        if !matches!(held, Held::Away) {
            self.0.place.leave();
        }
        drop(held);
    }
}

impl<F> Drive for Connection<F>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn turn(self: Arc<Self>, runtime: &Handle) {
        let Some((mut connection, task)) = self.take() else { return };
        self.place.begin_turn();
        let mut context = Context::from_waker(&task);
        // Through the runtime, so that a poll yields as often as that of a task does.
        let poll = poll_fn(|_| Poll::Ready(connection.as_mut().poll(&mut context)));
        // The task panics with what panics here.
        let held = match catch_unwind(AssertUnwindSafe(|| runtime.block_on(poll))) {
            Ok(Poll::Pending) => Held::Here(connection),
            Ok(Poll::Ready(output)) => {
                end(connection);
                Held::Ended(Ok(output))
            }
            Err(panic) => {
                end(connection);
                Held::Ended(Err(panic))
            }
        };
        let ended = matches!(held, Held::Ended(_));
        let mut state = self.state.lock();
        if matches!(state.held, Held::Gone) {
            drop(state);
            self.place.leave();
            return end(held);
        }
        state.held = held;
        let wakes = (std::mem::take(&mut state.woken) || ended).then(|| state.task.clone()).flatten();
        let queues = !ended && self.place.queues();
        drop(state);
        if ended {
            self.place.leave();
        }
        if let Some(task) = wakes {
            task.wake();
        }
        if queues {
            self.place.queue.push(self.clone());
        }
    }
}

/// Drops what has ended; should that panic, nobody else ends with it.
fn end<T>(ended: T) {
    if catch_unwind(AssertUnwindSafe(|| drop(ended))).is_err() {
        tracing::error!("what a connection left behind panicked");
    }
}

impl<F: Future> Connection<F> {
    /// The connection, and whom it wakes; `None` if it has ended.
    fn take(&self) -> Option<(Pin<Box<F>>, Waker)> {
        let mut state = self.state.lock();
        let task = state.task.clone()?;
        match std::mem::replace(&mut state.held, Held::Away) {
            Held::Here(connection) => Some((connection, task)),
            other => {
                state.held = other;
                None
            }
        }
    }
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

    /// So many bytes of `wanted` were written: free ones, if all were, or a part of the portion.
    fn wrote(&mut self, bytes: usize, wanted: usize) {
        if self.budget >= wanted {
            self.budget -= bytes;
        } else {
            self.place.spend(bytes);
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
            self.wrote(written, bytes.len());
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
            self.wrote(written, wanted);
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
    use std::sync::mpsc;
    use tokio::io::AsyncWriteExt as _;

    type Log = Arc<Mutex<Vec<(usize, usize)>>>;

    /// Takes everything, and notes in which order portions come. The first bytes tell that they came, and wait for leave.
    struct Sink {
        name: usize,
        log: Log,
        gate: Option<(mpsc::Sender<()>, mpsc::Receiver<()>)>,
    }

    impl Sink {
        fn new(name: usize, log: &Log) -> Self {
            Self { name, log: log.clone(), gate: None }
        }

        /// The sink, what tells of its first bytes, and what gives them leave.
        fn gated(name: usize, log: &Log) -> (Self, mpsc::Receiver<()>, mpsc::Sender<()>) {
            let ((came, comes), (leave, leaves)) = (mpsc::channel(), mpsc::channel());
            (Self { gate: Some((came, leaves)), ..Self::new(name, log) }, comes, leave)
        }
    }

    impl AsyncWrite for Sink {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.log.lock().push((self.name, bytes.len()));
            if let Some((came, leaves)) = self.gate.take() {
                came.send(()).expect("the test waits for the first bytes");
                leaves.recv().expect("the test gives leave");
            }
            Poll::Ready(Ok(bytes.len()))
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn turns() -> Turns {
        Turns::new(1, &Handle::current()).expect("threads")
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

    #[tokio::test]
    async fn long_answers_are_written_by_portions_in_turn_and_short_ones_between_them() {
        let (turns, log) = (turns(), Log::default());
        let mut tasks = tokio::task::JoinSet::new();
        let (first, first_came, leave) = Sink::gated(0, &log);
        let mut first = Some(first);
        for name in 0..3 {
            let (mut stream, place) = turns.join(first.take().unwrap_or_else(|| Sink::new(name, &log)));
            let long = vec![0; if name == 2 { 1000 } else { 1 << 20 }];
            tasks.spawn(place.drive(async move { stream.write_all(&long).await.map(|()| name) }));
        }
        // The short one ends although the first is not done with its first portion.
        let ended = tasks.join_next().await.expect("a task").expect("task").expect("write");
        assert_eq!(ended, 2);
        first_came.recv().expect("the first is at its turn");
        leave.send(()).expect("the first waits");
        while let Some(ended) = tasks.join_next().await {
            ended.expect("task").expect("write");
        }
        let log = std::mem::take(&mut *log.lock());
        let long: Vec<_> = log.iter().filter(|(name, _)| *name != 2).copied().collect();
        let wanted: Vec<_> = (0..16).map(|portion| (portion % 2, PORTION_BYTES)).collect();
        assert_eq!(long, wanted);
        assert_eq!(log.iter().filter(|(name, _)| *name == 2).collect::<Vec<_>>(), [&(2, 1000)]);
    }

    #[tokio::test]
    async fn pieces_are_not_cut_where_a_portion_ends() {
        let (turns, log) = (turns(), Log::default());
        let (mut stream, place) = turns.join(Sink::new(0, &log));
        // What is free leaves 3,000 bytes, which are too few for a piece, and 22 pieces leave 18 of a portion.
        let pieces = [&[FREE_BYTES - 3000][..], &[5957; 60]].concat();
        let writes = pieces.clone();
        let connection = async move {
            for bytes in writes {
                stream.write_all(&vec![0; bytes]).await.expect("write");
            }
        };
        tokio::spawn(place.drive(connection)).await.expect("task");
        assert_eq!(log.lock().iter().map(|(_, bytes)| *bytes).collect::<Vec<_>>(), pieces);
    }

    #[tokio::test]
    async fn what_ends_in_the_queue_or_in_its_turn_is_dropped_and_others_go_on() {
        let (turns, log) = (turns(), Log::default());
        let (first, first_came, leave) = Sink::gated(0, &log);
        let alive = Arc::new(());
        let long = |sink: Sink| {
            let (mut stream, place) = turns.join(sink);
            let alive = alive.clone();
            let writes = async move {
                stream.write_all(&vec![0; 1 << 20]).await.expect("write");
                drop(alive);
            };
            tokio::spawn(place.drive(writes))
        };
        let (in_turn, in_queue, last) = (long(first), long(Sink::new(1, &log)), long(Sink::new(2, &log)));
        tokio::task::spawn_blocking(move || first_came.recv())
            .await
            .expect("thread")
            .expect("the first is at its turn");
        for aborted in [in_turn, in_queue] {
            aborted.abort();
            assert!(aborted.await.expect_err("aborted").is_cancelled());
        }
        leave.send(()).expect("the first waits");
        last.await.expect("the last is written");
        drop(turns);
        assert_eq!(Arc::strong_count(&alive), 1);
        assert_eq!(log.lock().iter().filter(|(name, _)| *name == 0).count(), 1, "no second portion");
        assert_eq!(log.lock().iter().filter(|(name, _)| *name == 1).count(), 0);
    }

    #[tokio::test]
    async fn a_panic_in_a_turn_is_the_tasks_and_the_thread_goes_on() {
        let (turns, log) = (turns(), Log::default());
        for panics in [true, false] {
            let (mut stream, place) = turns.join(Sink::new(0, &log));
            let writes = async move {
                stream.write_all(&vec![0; FREE_BYTES + 1]).await.expect("write");
                assert!(!panics, "as it was told");
            };
            let ended = tokio::spawn(place.drive(writes)).await;
            assert_eq!(ended.is_err_and(|e| e.is_panic()), panics);
        }
    }

    #[tokio::test]
    async fn a_stream_that_has_left_its_connection_is_written_without_turns() {
        let (turns, log) = (turns(), Log::default());
        let (mut stream, place) = turns.join(Sink::new(0, &log));
        let (gives, takes) = tokio::sync::oneshot::channel();
        let (ends, end) = tokio::sync::oneshot::channel::<()>();
        let connection = tokio::spawn(place.drive(async move {
            assert!(gives.send(stream.write_all(&[0; 10]).await.map(|()| stream).expect("write")).is_ok());
            end.await.expect("told to end");
        }));
        let mut stream = takes.await.expect("the stream");
        // Refused while the connection is there, for which a turn is wanted that comes to nothing.
        let mut upgraded = std::pin::pin!(async { stream.write_all(&vec![0; 1 << 20]).await.expect("write") });
        assert!(futures::poll!(upgraded.as_mut()).is_pending());
        ends.send(()).expect("the connection is there");
        connection.await.expect("connection");
        upgraded.await;
        assert_eq!(log.lock().iter().map(|(_, bytes)| bytes).sum::<usize>(), (1 << 20) + 10);
    }
}
