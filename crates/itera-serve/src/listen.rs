//! Connections: at most so many, none for longer than it is used, and none that waits for a client which does
//! not read. When all are taken, the client with most of them makes room.

mod stream;

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Request},
};
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::{Service as _, service_fn},
};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, watch},
    time::MissedTickBehavior,
};

use self::stream::Watched;
use crate::{body::Held, client::network};

/// Longest that the head of a request may take, and that a connection may wait for the next one.
const HEAD: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_secs(75);

/// Longest that a request may take, however slowly its answer is read: more than the longest adaptation.
const REQUEST: Duration = Duration::from_mins(11);

/// After this much silence the system asks whether the other side is still there.
const KEEPALIVE: Duration = Duration::from_mins(1);

/// Pause after a connection could not be taken, for want of file descriptors for example.
const PAUSE: Duration = Duration::from_millis(50);

/// Bytes of a connection's buffer: the longest head, and what waits to be written.
const BUFFER: usize = 16 << 10;

/// The connections of a server.
#[derive(Debug)]
pub(crate) struct Connections {
    most: usize,
    began: Instant,
    open: Mutex<HashMap<u64, Arc<Connection>>>,
    next: AtomicU64,
}

/// One of them.
#[derive(Debug)]
struct Connection {
    peer: IpAddr,
    /// When it last began to wait or to work, in milliseconds since the start.
    since_ms: AtomicU64,
    /// Whether a head has begun that is not whole yet.
    in_head: AtomicBool,
    /// Requests that are not answered yet.
    requests: AtomicUsize,
    closed: Notify,
}

/// A place among the connections, held until dropped.
struct Place {
    id: u64,
    connection: Arc<Connection>,
    connections: Arc<Connections>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.lock().remove(&self.id);
    }
}

/// A request on its way: its connection is not idle until this is dropped.
#[derive(Debug)]
pub(crate) struct Busy {
    connection: Arc<Connection>,
    connections: Arc<Connections>,
}

impl Drop for Busy {
    fn drop(&mut self) {
        let now = self.connections.now_ms();
        self.connection.since_ms.store(now, Ordering::Relaxed);
        self.connection.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Connection {
    fn is_idle(&self) -> bool {
        self.requests.load(Ordering::Relaxed) == 0
    }
}

impl Connections {
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            began: Instant::now(),
            open: Mutex::default(),
            next: AtomicU64::new(0),
        })
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    /// Serves what arrives until `ending` is told; then what runs is finished. Returns when no connection is
    /// left.
    pub(crate) async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        routes: Router,
        ending: watch::Receiver<bool>,
    ) {
        let mut told = ending.clone();
        let mut every = tokio::time::interval(Duration::from_secs(1));
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => self.start(stream, peer, &routes, &ending),
                    Err(error) => {
                        tracing::debug!(%error, "cannot take a connection");
                        tokio::time::sleep(PAUSE).await;
                    }
                },
                _ = every.tick() => self.close_late(),
                () = is_told(&mut told) => break,
            }
        }
        drop(listener);
        while self.count() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn start(
        self: &Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        routes: &Router,
        ending: &watch::Receiver<bool>,
    ) {
        let Some(place) = self.take_place(network(peer.ip())) else {
            return;
        };
        // What cannot be set is done without.
        let _ = stream.set_nodelay(true);
        let _ = SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE));
        let routes = TowerToHyperService::new(routes.clone());
        tokio::spawn(run(place, stream, peer, routes, ending.clone()));
    }

    /// A place for a connection of a client. If all are taken, the client with most of them loses the one that
    /// waits longest, or if none of them waits and it is another client, its latest.
    fn take_place(self: &Arc<Self>, peer: IpAddr) -> Option<Place> {
        let mut open = self.lock();
        if open.len() >= self.most {
            let mut counts = HashMap::new();
            for connection in open.values() {
                *counts.entry(connection.peer).or_insert(0) += 1;
            }
            let own = counts.get(&peer).copied().unwrap_or(0);
            let (largest, most) = counts.into_iter().max_by_key(|(_, count)| *count)?;
            let of_largest = || open.iter().filter(|(_, one)| one.peer == largest);
            let longest_idle = of_largest()
                .filter(|(_, one)| one.is_idle())
                .min_by_key(|(_, one)| one.since_ms.load(Ordering::Relaxed));
            let latest = || {
                of_largest()
                    .max_by_key(|(id, _)| **id)
                    .filter(|_| most > own + 1)
            };
            let id = *longest_idle.or_else(latest)?.0;
            if let Some(connection) = open.remove(&id) {
                connection.closed.notify_one();
            }
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let connection = Arc::new(Connection {
            peer,
            since_ms: AtomicU64::new(self.now_ms()),
            in_head: AtomicBool::new(false),
            requests: AtomicUsize::new(0),
            closed: Notify::new(),
        });
        open.insert(id, Arc::clone(&connection));
        Some(Place {
            id,
            connection,
            connections: Arc::clone(self),
        })
    }

    /// Closes what has taken too long.
    fn close_late(&self) {
        let now = self.now_ms();
        for connection in self.lock().values() {
            let most = if !connection.is_idle() {
                REQUEST
            } else if connection.in_head.load(Ordering::Relaxed) {
                HEAD
            } else {
                IDLE
            };
            let since = connection.since_ms.load(Ordering::Relaxed);
            if Duration::from_millis(now.saturating_sub(since)) > most {
                connection.closed.notify_one();
            }
        }
    }

    fn now_ms(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    /// Nothing that holds the lock can panic halfway.
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Connection>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// A request has come.
    fn busy(&self) -> Busy {
        self.connection.requests.fetch_add(1, Ordering::Relaxed);
        self.connection.in_head.store(false, Ordering::Relaxed);
        let now = self.connections.now_ms();
        self.connection.since_ms.store(now, Ordering::Relaxed);
        Busy {
            connection: Arc::clone(&self.connection),
            connections: Arc::clone(&self.connections),
        }
    }

    /// Bytes have come: of a head, if no request is on its way.
    fn received(&self) {
        let connection = &self.connection;
        if connection.is_idle() && !connection.in_head.swap(true, Ordering::Relaxed) {
            let now = self.connections.now_ms();
            connection.since_ms.store(now, Ordering::Relaxed);
        }
    }
}

/// Waits for the word to end; that the other side has gone is one, too.
pub(crate) async fn is_told(ending: &mut watch::Receiver<bool>) {
    let _ = ending.wait_for(|ends| *ends).await;
}

/// Speaks HTTP on a connection until either side has enough.
async fn run(
    place: Place,
    stream: TcpStream,
    peer: SocketAddr,
    routes: TowerToHyperService<Router>,
    mut ending: watch::Receiver<bool>,
) {
    let place = Arc::new(place);
    let stream = Watched::new(stream, {
        let place = Arc::clone(&place);
        move || place.received()
    });
    let service = service_fn(|mut request: Request<Incoming>| {
        let busy = place.busy();
        request.extensions_mut().insert(ConnectInfo(peer));
        let answer = routes.call(request.map(Body::new));
        async move {
            let response = answer.await?;
            Ok::<_, std::convert::Infallible>(response.map(|body| Held::new(body, busy)))
        }
    });
    let connection = http1::Builder::new()
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        // Errors are the client's: it has gone, or speaks no HTTP.
        _ = connection.as_mut() => return,
        () = place.connection.closed.notified() => return,
        () = is_told(&mut ending) => {}
    }
    if place.connection.is_idle() {
        return;
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        _ = connection => {}
        () = place.connection.closed.notified() => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn is_closed(place: &Place) -> bool {
        !place.connections.lock().contains_key(&place.id)
    }

    #[test]
    fn the_connection_that_waits_longest_makes_room() {
        let connections = Connections::new(3);
        let place = |last| connections.take_place(address(last));
        let held: Vec<_> = [1, 1, 1].map(|last| place(last).unwrap()).into();
        held[1].connection.since_ms.store(0, Ordering::Relaxed);
        for index in [0, 2] {
            held[index].connection.since_ms.store(5, Ordering::Relaxed);
        }
        let _new = place(1).unwrap();
        let closed: Vec<_> = held.iter().map(is_closed).collect();
        assert_eq!(closed, [false, true, false]);
        assert_eq!(connections.count(), 3);
    }

    #[test]
    fn a_client_that_works_on_all_connections_makes_room_for_others_only() {
        let connections = Connections::new(3);
        let place = |last| connections.take_place(address(last));
        let held: Vec<_> = [1, 1, 1].map(|last| place(last).unwrap()).into();
        let _busy: Vec<_> = held.iter().map(Place::busy).collect();
        assert!(place(1).is_none());
        let other = place(2).unwrap();
        let _busy = other.busy();
        let closed: Vec<_> = held.iter().map(is_closed).collect();
        assert_eq!(closed, [false, false, true]);
        assert!(!is_closed(&other));
        assert!(
            place(2).is_none(),
            "one more would be as many as the other has"
        );
    }
}
