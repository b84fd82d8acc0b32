//! A trace: the traced program takes the place of the other one on every interface, whoever asked is told of
//! frames, and in the end the other program is put back.
//!
//! In: a request. Out: lines. One trace runs at a time: the traced program compares with one client.

mod reader;

use std::time::{Duration, Instant};

use lb_core::trace::{self, Names};
use lb_core::view::{EventKind, Network, Severity, TraceEnd, TraceLine, TraceRequest};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinError, JoinHandle};
use tracing::{debug, warn};

use self::reader::{Read, Reader};
use super::Daemon;
use crate::api::TraceRefused;
use crate::dataplane::{self, Error, Program, program};

/// Lines that wait for a slow reader; further frames are counted.
const QUEUE: usize = 1024;

/// For a slow reader to make room for the last line.
const LAST_LINE: Duration = Duration::from_secs(2);

/// For the reader of the ring buffer to end, which it does at once.
const LAST_READ: Duration = Duration::from_secs(1);

/// Not the name of an interface, unlike other keys of problems: those have no spaces.
const PROBLEM: &str = "the end of a trace";

type Lines = mpsc::Receiver<TraceLine>;

/// The traced program, attached to nothing yet, and what it will tell.
type Loaded = Box<(Program, dataplane::Trace)>;

/// What the traced program is, and who is told.
pub(super) struct Tracing {
    client: Network,
    by: String,
    seconds: u32,
    begun: Instant,
    stage: Stage,
}

enum Stage {
    Loading {
        task: JoinHandle<Result<Loaded, Error>>,
        request: TraceRequest,
        reply: oneshot::Sender<Result<Lines, TraceRefused>>,
    },
    Running(Box<Running>),
}

struct Running {
    program: Program,
    reader: JoinHandle<Read>,
    names: watch::Sender<Names>,
    stop: oneshot::Sender<()>,
    /// Follows what the traced program logs, with `--log-verdicts`.
    log: Option<AbortHandle>,
}

/// Something that happens to a trace.
pub(super) enum Step {
    Loaded(Result<Loaded, Error>),
    Read(Result<Read, JoinError>),
}

impl Tracing {
    /// Waits for the next step; there is one until the trace is over.
    pub(super) async fn step(&mut self) -> Step {
        match &mut self.stage {
            Stage::Loading { task, .. } => {
                let loaded = task.await;
                Step::Loaded(loaded.unwrap_or_else(|error| Err(std::io::Error::other(error).into())))
            }
            Stage::Running(running) => Step::Read((&mut running.reader).await),
        }
    }

    /// The program that interfaces are to have meanwhile.
    pub(super) fn program(&mut self) -> Option<&mut Program> {
        match &mut self.stage {
            Stage::Loading { .. } => None,
            Stage::Running(running) => Some(&mut running.program),
        }
    }
}

impl Daemon {
    /// Begins a trace: loads the program beside the loop, because the verifier takes its time.
    pub(super) fn trace(&mut self, request: TraceRequest, reply: oneshot::Sender<Result<Lines, TraceRefused>>) {
        if let Some(other) = &self.tracing {
            let (Tracing { client, by, .. }, ago) = (other, other.begun.elapsed().as_secs());
            let left = u64::from(other.seconds).saturating_sub(ago);
            let busy = format!(
                "{by} has been tracing {client} for {ago} s, for {left} s more at most; one trace runs at a time: ask \
                 again when it has ended"
            );
            let _ = reply.send(Err(TraceRefused::Busy(busy)));
            return;
        }
        if self.attach_by.is_some() {
            let busy = "the program of before still forwards while new tables are being filled; ask again in a moment";
            let _ = reply.send(Err(TraceRefused::Busy(busy.to_owned())));
            return;
        }
        let options = program::Options {
            pins: self.options.pin_dir.clone(),
            limits: self.control.config().node.limits,
            tick_shift: self.clock.shift(),
            log_verdicts: self.options.log_verdicts,
        };
        let filter = trace::filter(&request.client);
        let task = tokio::task::spawn_blocking(move || dataplane::Trace::load(&options, &filter).map(Box::new));
        self.tracing = Some(Tracing {
            client: request.client,
            by: request.by.clone().unwrap_or_else(|| "somebody".to_owned()),
            seconds: request.seconds,
            begun: Instant::now(),
            stage: Stage::Loading { task, request, reply },
        });
    }

    /// Goes on with the trace.
    pub(super) async fn traced(&mut self, step: Step) {
        match step {
            Step::Loaded(loaded) => {
                let Some(Tracing { client, by, seconds, begun, stage: Stage::Loading { request, reply, .. } }) =
                    self.tracing.take()
                else {
                    return;
                };
                // Whoever asked may be gone by now; then there is nothing to put in place.
                if reply.is_closed() {
                    return;
                }
                match self.run_trace(loaded, &request).await {
                    Ok((running, lines)) => {
                        let stage = Stage::Running(Box::new(running));
                        self.tracing = Some(Tracing { client, by: by.clone(), seconds, begun, stage });
                        let sentence = format!("the frames of {client} are traced, for {seconds} s at most");
                        self.told(EventKind::Administration, Severity::Info, Some(&by), sentence);
                        // A reader that is gone is noticed by whoever fills the lines.
                        let _ = reply.send(Ok(lines));
                    }
                    Err(refused) => {
                        warn!("no trace: {refused}");
                        let _ = reply.send(Err(refused));
                    }
                }
            }
            Step::Read(read) => self.finish_trace(read).await,
        }
    }

    /// Puts the traced program in place and reads what it tells.
    async fn run_trace(
        &mut self,
        loaded: Result<Loaded, Error>,
        request: &TraceRequest,
    ) -> Result<(Running, Lines), TraceRefused> {
        let failed = |error: &dyn std::fmt::Display| TraceRefused::Failed(format!("the trace cannot begin: {error}"));
        let (mut program, trace) = *loaded.map_err(|error| failed(&error))?;
        let following = trace.follow().map_err(|error| failed(&error))?;
        let interfaces = self.control.config().node.interfaces.clone();
        let attached = interfaces.iter().try_for_each(|interface| program.attach(&interface.device, interface.xdp));
        if let Err(error) = attached {
            self.put_back().await;
            return Err(failed(&error));
        }
        let log = if self.options.log_verdicts {
            let log = dataplane::follow_log(&mut program).map_err(|error| failed(&error));
            log.inspect_err(|refused| warn!("{refused}")).ok().map(|log| tokio::spawn(log).abort_handle())
        } else {
            None
        };
        let (sender, lines) = mpsc::channel(QUEUE);
        let begin = TraceLine::Begin {
            client: request.client,
            interfaces: interfaces.into_iter().map(|interface| interface.device).collect(),
            seconds: request.seconds,
        };
        // There is room for the first.
        let _ = sender.try_send(begin);
        let (names, named) = watch::channel(Names::new(self.control.wanted()));
        let (stop, stopped) = oneshot::channel();
        let reader = Reader::new(following, sender, named, request);
        let reader = tokio::spawn(reader.run(stopped));
        Ok((Running { program, reader, names, stop, log }, lines))
    }

    /// The names of real servers may be others by now.
    pub(super) fn rename_traced(&self) {
        if let Some(Tracing { stage: Stage::Running(running), .. }) = &self.tracing {
            running.names.send_replace(Names::new(self.control.wanted()));
        }
    }

    /// Ends a trace from this side, if there is one; the program stays where it is when the pins go anyway.
    pub(super) async fn stop_trace(&mut self, put_back: bool) {
        match self.tracing.take() {
            None => {}
            Some(Tracing { stage: Stage::Loading { reply, .. }, .. }) => {
                let _ = reply.send(Err(TraceRefused::Failed("lbd is stopping".to_owned())));
            }
            Some(Tracing { stage: Stage::Running(running), client, by, .. }) => {
                let Running { reader, stop, log, program, .. } = *running;
                let _ = stop.send(());
                let read = tokio::time::timeout(LAST_READ, reader).await;
                if put_back {
                    self.put_back().await;
                }
                drop(program);
                if let Some(log) = log {
                    log.abort();
                }
                if let Ok(read) = read {
                    self.tell_end(client, &by, read);
                }
            }
        }
    }

    async fn finish_trace(&mut self, read: Result<Read, JoinError>) {
        let Some(Tracing { client, by, stage, .. }) = self.tracing.take() else { return };
        self.put_back().await;
        if let Stage::Running(running) = stage
            && let Some(log) = running.log
        {
            log.abort();
        }
        self.tell_end(client, &by, read);
    }

    /// Tells of the end, once the traced program is no longer in place.
    fn tell_end(&mut self, client: Network, by: &str, read: Result<Read, JoinError>) {
        let Read { lines, why, frames, not_shown } = match read {
            Ok(read) => read,
            Err(error) => {
                warn!(%error, "the trace broke off");
                return;
            }
        };
        let sentence = match not_shown {
            0 => format!("the trace of {client} has ended: {frames} frames shown"),
            _ => format!("the trace of {client} has ended: {frames} frames shown, {not_shown} not"),
        };
        self.told(EventKind::Administration, Severity::Info, Some(by), sentence);
        tokio::spawn(async move {
            let sent = tokio::time::timeout(LAST_LINE, lines.send(TraceLine::End { why, frames, not_shown })).await;
            if !matches!(sent, Ok(Ok(()))) && why != TraceEnd::Reader {
                debug!("whoever traced does not read the end of it");
            }
        });
    }

    /// Puts the program without a trace back on every interface.
    async fn put_back(&mut self) {
        match self.attach().await {
            Ok(()) => drop(self.problems.remove(PROBLEM)),
            Err(error) => {
                // It forwards as the other one does, and counts what it cannot tell.
                let problem = format!(
                    "the traced program could not be taken off again, which costs speed until lbd is restarted: \
                     {error:#}"
                );
                warn!("{problem}");
                self.problems.insert(PROBLEM.to_owned(), problem);
            }
        }
    }
}
