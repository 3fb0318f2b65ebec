//! The task of one system: the only one that holds its sockets. It decides which Core of a pair is used, and carries commands there.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::Command;
use super::config::{COMMAND_WAIT, LinkConfig};
use super::dial::Dial;
use super::error::CommandError;
use super::peer::{Peer, Progress, Turn};
use super::session::SOON;
use super::status::{LinkState, LinkStatus};
use super::watch::Watched;
use crate::base::life::Life;
use crate::limits::CORES_PER_SYSTEM_MAX;
use crate::model::change::ChangeSink;

/// Frames taken in a row before commands get a turn: sockets come first in the loop, and must not starve people.
const FRAMES_IN_ROW_MAX: u32 = 64;

/// See the module.
pub(super) struct Driver {
    peers: heapless::Vec<Peer, CORES_PER_SYSTEM_MAX>,
    /// The Core that is used.
    active: Option<usize>,
    /// The Core whose status is shown as the system's.
    shown: usize,
    commands: mpsc::Receiver<Command>,
    status: watch::Sender<LinkStatus>,
    watched: Arc<Watched>,
    sink: Arc<dyn ChangeSink>,
    life: Life,
}

impl Driver {
    pub(super) fn new(
        config: LinkConfig,
        dial: Arc<dyn Dial>,
        sink: Arc<dyn ChangeSink>,
        life: Life,
        (commands, watched): (mpsc::Receiver<Command>, Arc<Watched>),
    ) -> (Self, watch::Receiver<LinkStatus>) {
        let now = Instant::now();
        let config = Arc::new(config);
        let addresses = config
            .addresses
            .clone()
            .into_iter()
            .take(CORES_PER_SYSTEM_MAX);
        let peers = addresses
            .map(move |address| Peer::new(Arc::clone(&config), Arc::clone(&dial), address, now))
            .collect();
        let (status, receiver) = watch::channel(LinkStatus::new(String::new(), now));
        let driver = Self {
            peers,
            active: None,
            shown: 0,
            commands,
            status,
            watched,
            sink,
            life,
        };
        driver.publish();
        (driver, receiver)
    }

    /// Keeps the link until it is told to stop, or nobody holds a [`super::Link`] any more.
    pub(super) async fn run(mut self) {
        let mut frames_in_row = 0;
        loop {
            let deadline = self.peers.iter().filter_map(Peer::next_deadline).min();
            let Life { stop, beat } = self.life.clone();
            let watched = Arc::clone(&self.watched);
            let takes_commands = self.takes_commands();
            let take_socket = frames_in_row < FRAMES_IN_ROW_MAX || !takes_commands;
            frames_in_row += 1;
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                never = beat.answer() => match never {},
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => self.timeout(),
                (at, progress) = progress(&mut self.peers), if take_socket => self.progressed(at, progress),
                command = self.commands.recv(), if takes_commands => {
                    let Some(command) = command else { break };
                    frames_in_row = 0;
                    self.command(command);
                }
                () = watched.changed() => self.watch_changed(),
                () = std::future::ready(()), if !take_socket => {}
            }
            if !take_socket {
                frames_in_row = 0;
            }
            self.arbitrate();
            self.publish();
        }
        self.commands.close();
        while let Ok(command) = self.commands.try_recv() {
            if let Command::Call { reply, .. } = command {
                reply.send(Err(CommandError::Down { retry_in: SOON }));
            }
        }
        let now = Instant::now();
        for peer in self.peers {
            peer.stop(now, &*self.sink).await;
        }
    }

    fn timeout(&mut self) {
        let now = Instant::now();
        for peer in &mut self.peers {
            peer.timeout(now, &*self.sink);
        }
    }

    fn progressed(&mut self, at: usize, progress: Progress) {
        if let Some(peer) = self.peers.get_mut(at) {
            peer.progressed(Instant::now(), progress, &*self.sink);
        }
    }

    fn watch_changed(&mut self) {
        let now = Instant::now();
        let wanted = self.watched.wanted();
        for peer in &mut self.peers {
            peer.watch(now, &wanted);
        }
    }

    fn takes_commands(&self) -> bool {
        let active = self.active.and_then(|at| self.peers.get(at));
        active.is_none_or(Peer::takes_commands)
    }

    fn command(&mut self, command: Command) {
        let now = Instant::now();
        match command {
            Command::Call {
                request,
                reply,
                asked,
            } => {
                // It waited for others for so long that its caller had better decide anew.
                let is_late = asked + COMMAND_WAIT <= now;
                match self.active.and_then(|at| self.peers.get_mut(at)) {
                    Some(peer) if !is_late => peer.command(now, &request, reply),
                    Some(_) => reply.send(Err(CommandError::Busy)),
                    None => reply.send(Err(self.excuse(now))),
                }
            }
            Command::ResetBreaker => self.peers.iter_mut().for_each(|peer| peer.retry_now(now)),
            Command::Trust { fingerprint } => {
                let known = self
                    .peers
                    .iter_mut()
                    .any(|peer| peer.trust(now, &fingerprint));
                if !known {
                    tracing::warn!(
                        "No Core shows the certificate that was accepted: {fingerprint}"
                    );
                }
            }
        }
    }

    /// Why no Core can be asked: a standby that answers tells more than a partner that is down.
    fn excuse(&self, now: Instant) -> CommandError {
        let excuses = || self.peers.iter().map(|peer| peer.excuse(now));
        excuses()
            .find(|excuse| *excuse == CommandError::Standby)
            .or_else(|| excuses().min_by_key(CommandError::retry_after))
            .unwrap_or(CommandError::Busy)
    }

    /// Decides which Core is used, from what the Cores said since the last time.
    ///
    /// A Core that takes over is believed at once, for the one before may be frozen and never say goodbye. Otherwise the present one
    /// stays: two Cores that both claim to be active must not make the link swing.
    fn arbitrate(&mut self) {
        let now = Instant::now();
        for at in 0..self.peers.len() {
            while let Some(turn) = self.peers.get_mut(at).and_then(Peer::turn) {
                match turn {
                    Turn::Ready { took_over } => {
                        if took_over || self.active.is_none_or(|active| active == at) {
                            self.use_peer(now, at);
                        } else {
                            tracing::warn!(
                                "Both Cores of the pair say that they are active; the first one stays in use"
                            );
                        }
                    }
                    Turn::Gone if self.active == Some(at) => {
                        self.active = None;
                        let other = (0..self.peers.len())
                            .find(|other| *other != at && self.could_be_used(*other));
                        if let Some(other) = other {
                            self.use_peer(now, other);
                        }
                    }
                    Turn::Gone => {}
                }
            }
        }
    }

    fn could_be_used(&self, at: usize) -> bool {
        self.peers.get(at).is_some_and(|peer| {
            let status = peer.status();
            let is_active = |engine: &crate::wire::qrc::EngineStatus| {
                engine.state == crate::wire::qrc::EngineState::Active
            };
            status.state == LinkState::Standby && status.engine.as_ref().is_some_and(is_active)
        })
    }

    fn use_peer(&mut self, now: Instant, at: usize) {
        let before = self.active.replace(at).filter(|before| *before != at);
        if let Some(peer) = before.and_then(|before| self.peers.get_mut(before)) {
            peer.disengage(now, &*self.sink);
        }
        self.shown = at;
        if let Some(peer) = self.peers.get_mut(at) {
            if before.is_some() {
                tracing::info!("The Core at {} has taken over", peer.status().address);
            }
            peer.engage(now, &*self.sink);
        }
        self.compare_pair();
    }

    /// A pair that does not run one design is no pair: say so, for a switch would change everything.
    fn compare_pair(&self) {
        let engines: Vec<_> = self
            .peers
            .iter()
            .filter_map(|peer| peer.status().engine.as_ref())
            .collect();
        if let [first, second] = engines.as_slice() {
            if !first.is_redundant || !second.is_redundant {
                tracing::warn!(
                    "Two Cores are configured as a pair, but the design is not redundant"
                );
            } else if first.design_code != second.design_code {
                tracing::warn!("The two Cores of the pair run different designs");
            }
        }
    }

    /// Tells the status; those who wait for a change are woken only by what is worth it.
    fn publish(&self) {
        let connected = |peer: &&Peer| {
            !matches!(
                peer.status().state,
                LinkState::Backoff | LinkState::Refused | LinkState::Connecting
            )
        };
        let shown = self.active.and_then(|at| self.peers.get(at));
        let shown = shown
            .or_else(|| self.peers.iter().find(connected))
            .or_else(|| self.peers.get(self.shown));
        let Some(shown) = shown else {
            return;
        };
        let pair = if self.peers.len() > 1 {
            self.peers.as_slice()
        } else {
            &[]
        };
        self.status.send_if_modified(|told| {
            let news = !told.says_the_same_as(shown.status())
                || pair.len() != told.peers.len()
                || pair
                    .iter()
                    .zip(&told.peers)
                    .any(|(peer, told)| !told.says_the_same_as(peer.status()));
            if news {
                *told = shown.status().clone();
                told.peers = pair.iter().map(|peer| peer.status().clone()).collect();
            } else {
                told.follow(shown.status());
                for (peer, told) in pair.iter().zip(&mut told.peers) {
                    told.follow(peer.status());
                }
            }
            news
        });
    }
}

/// The first of the Cores to make progress. May be dropped and called again at any time.
async fn progress(peers: &mut [Peer]) -> (usize, Progress) {
    poll_fn(|cx| {
        for (at, peer) in peers.iter_mut().enumerate() {
            if let Poll::Ready(progress) = peer.poll_progress(cx) {
                return Poll::Ready((at, progress));
            }
        }
        Poll::Pending
    })
    .await
}
