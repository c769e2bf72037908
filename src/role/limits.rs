//! Every bound of the roles, in one place: what a peer can make a node hold, and for how long.

use crate::base::time::Duration;

/// What one shard holds for others at most. The default is for a machine that is a relay before all else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Cells on all circuits together: [`CELLS_QUEUED_MAX`].
    pub cells_queued: usize,
    /// Exit connections and names being looked up: [`EXITS_MAX`].
    pub exits: usize,
    /// Bytes that wait for destinations: [`EXIT_UNSENT_MAX`].
    pub exit_unsent: usize,
    /// Circuits on one link: [`CIRCUITS_PER_LINK_MAX`].
    pub circuits_per_link: usize,
    /// Circuits over all links: [`CIRCUITS_MAX`].
    pub circuits: usize,
    /// Links, accepted and dialled: [`LINKS_MAX`].
    pub links: usize,
}

impl Limits {
    /// The same for one of `shards` threads of a process that may have this many descriptors: half of them are for links, and
    /// each shard has its part of those.
    // spec: LINK-37
    #[must_use]
    pub fn within(self, descriptors: u64, shards: usize) -> Self {
        let of_shard = usize::try_from(descriptors).unwrap_or(usize::MAX) / shards.max(1);
        Self { links: self.links.min(of_shard / 2), ..self }
    }

    /// Exit connections and look-ups of all `shards` together, in a process that may have this many descriptors: a quarter of
    /// those. The rest is for what else the process opens.
    // spec: STREAM-35
    pub fn exits_within(descriptors: u64, shards: usize) -> usize {
        let quarter = usize::try_from(descriptors / 4).unwrap_or(usize::MAX);
        quarter.min(EXITS_MAX.saturating_mul(shards))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            cells_queued: CELLS_QUEUED_MAX,
            exits: EXITS_MAX,
            exit_unsent: EXIT_UNSENT_MAX,
            circuits_per_link: CIRCUITS_PER_LINK_MAX,
            circuits: CIRCUITS_MAX,
            links: LINKS_MAX,
        }
    }
}

/// Links of a shard, accepted and dialled.
pub const LINKS_MAX: usize = 8192;
/// How many of them are reserved for links to the next relays, so that accepted links cannot use all of them up. One more
/// than the others pushes one of the largest holder's out (spec LINK-30).
pub const LINKS_RESERVED: usize = 2048;
/// How many links of one source are spared because they carried something, before the oldest is closed anyway.
pub const SECOND_CHANCES: usize = 16;
/// Circuits one link may carry. Beyond it CREATE is answered with DESTROY (spec CIRC-16).
pub const CIRCUITS_PER_LINK_MAX: usize = 16_384;
/// Circuits of one shard, over all links. Beyond it CREATE is answered with DESTROY (spec CIRC-16).
pub const CIRCUITS_MAX: usize = 65_536;
/// Handshakes of circuits that wait for their turn. Beyond it the last of whoever has most is refused (spec CIRC-18).
pub const HANDSHAKES_MAX: usize = 4096;
/// Handshakes that are answered before the driver carries cells again: a millisecond or less.
pub const HANDSHAKES_PER_TURN: usize = 4;
/// A CREATE that waited for this long is refused: its client is about to give it up.
pub const HANDSHAKE_WAIT_MAX: Duration = Duration::from_secs(5);
/// Handshakes of links, and of circuits, that are remembered so that none is answered twice: 4 MB each.
pub const REPLAYS_MAX: usize = 65_536;
/// How far a client's clock may be from a relay's for its links (spec LINK-31).
pub const LINK_TIME_WINDOW: Duration = Duration::from_secs(3 * 3600);
/// Cells that may wait on one circuit in one direction, in addition to the window of a peer that follows the rules.
pub const CELLS_QUEUED_SLACK: usize = 256;
/// Cells that may wait on all circuits of a shard together (185 MB). Beyond it the circuit whose oldest cell
/// has waited longest closes (spec CIRC-14).
pub const CELLS_QUEUED_MAX: usize = 131_072;
/// Exit connections and names being looked up, of one shard. Beyond it the longest idle of the circuit with the most makes
/// room (spec STREAM-22).
pub const EXITS_MAX: usize = 8192;
/// Cells that may wait on a link before any circuit's cell (CREATE, CREATED). Beyond it the link closes.
pub const LINK_CONTROL_MAX: usize = 2048;
/// DESTROYs that may wait on a link; they are small while they wait. Beyond it the link closes.
pub const LINK_DESTROYS_MAX: usize = 65_536;
/// Requests of one shard that the node's services have not answered. A holder gets no more than are left for others; beyond
/// that call streams are ended with RESOURCE (spec STREAM-32).
pub const ASKS_MAX: usize = 1024;
/// How many of them may come over one circuit.
pub const ASKS_PER_CIRCUIT_MAX: usize = 128;
/// Names being looked up, of one shard. Beyond it the oldest look-up of the largest holder gives way (spec STREAM-27). Each
/// takes two sockets.
pub const LOOKUPS_MAX: usize = 1024;
/// Of those, for the circuits of one link: they may all be one client's, or those of many that come through one relay.
pub const LOOKUPS_PER_LINK_MAX: usize = 256;
/// Of those, for one circuit.
pub const LOOKUPS_PER_CIRCUIT_MAX: usize = 64;
/// Bytes of one relay that wait for destinations, looked up, connected to or slow; its shards share them. Beyond it, of the circuit for which most
/// wait, the stream for which most wait is ended with RESOURCE (spec STREAM-28).
pub const EXIT_UNSENT_MAX: usize = 128 * 1024 * 1024;
/// Of those, for one circuit.
pub const EXIT_UNSENT_PER_CIRCUIT_MAX: usize = 32 * 1024 * 1024;
/// Bytes of one shard that wait for slow clients. Each of its exit streams may read ahead what all together leave free. It is no more than
/// lies in a processor's cache: the rest would be fetched from memory again when it is sent.
pub const EXIT_UNREAD_MAX: usize = 16 * 1024 * 1024;
/// Bytes of one write to an exit stream's destination.
pub const EXIT_WRITE_MAX: usize = 64 * 1024;
/// What each exit stream may read ahead in any case.
pub const EXIT_UNREAD_LEAST: usize = 48 * 1024;
/// A circuit on which nothing passed for one to two times this long gives up what it can make again.
/// Making a key's schedule again takes less than opening one cell does.
pub const PARK_AFTER: Duration = Duration::from_secs(1);
/// How often the client checks whether a circuit is unused.
pub const CIRCUIT_IDLE_CHECK: Duration = Duration::from_secs(10);
/// The same for a circuit that ends with its last stream because one of its relays is leaving.
pub const CIRCUIT_LEAVING_CHECK: Duration = Duration::from_secs(1);
/// Free cell buffers a shard keeps for reuse.
pub const POOL_MAX: usize = 2048;
/// Addresses of one name that an exit tries, each a moment after the one before.
pub const EXIT_ADDRESSES_MAX: usize = 8;
/// From accept or connect to an open link (spec LINK-20).
pub const LINK_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// From EXTEND to CREATED at the extending relay (spec CIRC-9).
pub const EXTEND_TIMEOUT: Duration = Duration::from_secs(10);
/// A node closes a link that it opened once it has carried no circuit for this long (spec LINK-21).
pub const LINK_IDLE_TIMEOUT: Duration = Duration::from_secs(20);
/// The same for a link that is not padded.
pub const LINK_QUIET_IDLE: Duration = Duration::from_secs(1);
/// A relay asks for the end of a link that another node opened, once it has carried no circuit for this long: a node that follows
/// the rules closes it earlier (spec LINK-33).
pub const LINK_IDLE_ACCEPTED: Duration = Duration::from_secs(90);
/// The same, while more than three quarters of the places for accepted links are taken.
pub const LINK_IDLE_CROWDED: Duration = Duration::from_secs(10);
/// From CLOSE to the end of the link if its initiator neither ends nor uses it. Longer than a CREATE may take to arrive.
pub const LINK_CLOSE_GRACE: Duration = Duration::from_secs(10);
/// A link with circuits on which nothing arrived for this long is closed. Its peer pads within 9.5 s: three of those.
pub const LINK_SILENT_TIMEOUT: Duration = Duration::from_secs(30);
/// The same for a link that is not padded: two of [`PROBE_AFTER`], and time for the system to give it up.
pub const LINK_QUIET_TIMEOUT: Duration = Duration::from_secs(600);
/// A link with circuits that has something to send and could write nothing for this long is closed: its peer reads nothing.
pub const LINK_STUCK_TIMEOUT: Duration = Duration::from_secs(60);
/// Bounds between which the silence before a padding cell is drawn (spec LINK-22).
pub const PADDING_AFTER: (Duration, Duration) = (Duration::from_millis(1500), Duration::from_millis(9500));
/// The same for a link that is not padded, where a probe shows that both ends are there (spec LINK-22).
pub const PROBE_AFTER: (Duration, Duration) = (Duration::from_secs(180), Duration::from_secs(240));
/// After a stream has ended both ways, a destination that accepts none of the remaining bytes is given up after this long.
pub const EXIT_LINGER: Duration = Duration::from_secs(600);
/// At a full exit a stream on which something moved within this time keeps its place, unless its circuit holds more than
/// [`EXITS_SHARE`] (spec STREAM-22).
pub const EXIT_IDLE_LEAST: Duration = Duration::from_secs(60);
/// At a full exit a circuit is sure of this many connections that are in use (spec STREAM-22).
pub const EXITS_SHARE: usize = 64;
/// From opening a stream to its CONNECTED or END, at the client.
pub const STREAM_OPEN_TIMEOUT: Duration = Duration::from_secs(30);
/// From the first CREATE to a built circuit, at the client.
pub const CIRCUIT_BUILD_TIMEOUT: Duration = Duration::from_secs(10);
/// Circuits a client builds for one stream before it gives up (spec 12).
pub const BUILDS_PER_STREAM: u32 = 8;
/// How many of them may have failed only because the relay that was named did not answer.
pub const BUILDS_PER_CALLEE: u32 = 2;
/// A circuit takes no new streams after this long.
pub const CIRCUIT_DIRTY_AFTER: Duration = Duration::from_secs(600);
/// A client closes a used circuit that carries no stream after this long.
pub const CIRCUIT_IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// A client that has heard no relay for this long is offline: a relay with circuits pads within 9.5 s.
pub const OFFLINE_AFTER: Duration = Duration::from_secs(12);
/// From a call to its answer.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(20);
/// A node closes a circuit of one hop that carries no call after this long: the next call to that relay comes late or never.
pub const DIRECT_IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Circuits of one hop that a node has at once, each of which takes a link: those unused for longest make way.
pub const DIRECT_CIRCUITS_MAX: usize = 32;
/// Circuits a client has at once.
pub const CLIENT_CIRCUITS_MAX: usize = 8192;
/// Of them, circuits for streams through exits. Beyond it the one unused for longest makes way, and while none is unused
/// the stream waits.
pub const EXIT_CIRCUITS_MAX: usize = 4096;
/// Of them, circuits for content that programs ask the local proxy for; the same holds. The rest is for the node's own calls.
pub const SITE_CIRCUITS_MAX: usize = 128;
/// Circuits for streams through exits that one user has at once.
pub const USER_CIRCUITS_MAX: usize = 128;
/// Circuits over which one user's streams are spread.
pub const CIRCUITS_PER_USER: u8 = 8;
/// Exits that are drawn for one user within [`EXITS_MEMORY`], whatever fails; one more is drawn from among them.
pub const EXITS_PER_USER: usize = 12;
/// How many paths are tried to a last hop that was drawn at random, before another is drawn (spec CLIENT-38).
pub const LAST_HOP_TRIES: u8 = 2;
/// Last hops that wait to be tried again. Beyond it the oldest is forgotten.
pub const DRAWS_WAITING_MAX: usize = 64;
/// A circuit that the network ends within this time counts as failed.
pub const CIRCUIT_LASTS: Duration = Duration::from_secs(600);
/// How long an exit counts that was drawn for a user.
pub const EXITS_MEMORY: Duration = Duration::from_secs(600);
/// Users whose exits are remembered. Beyond it the one who drew none for longest is forgotten.
pub const EXIT_USERS_MAX: usize = 1024;
/// Streams a client has at once.
pub const CLIENT_STREAMS_MAX: usize = 8192;
/// How far the windows of all streams of a shard's exits may be beyond the first together (spec STREAM-25): a fast stream has half
/// of what the others leave free.
pub const WINDOWS_EXTRA_MAX: usize = 64 * 1024 * 1024;
/// With fewer streams than the number on the left, a client's streams have this first window, in bytes (spec STREAM-33). An exit
/// sees it, so there are few steps.
pub const WINDOW_STEPS: [(usize, u32); 3] = [(64, 256 * 1024), (512, 64 * 1024), (usize::MAX, 16 * 1024)];
/// The windows of a client's streams together: this much for each of them, but within these bounds (spec STREAM-34). The most is five sixths
/// of what a relay holds for everybody; with less, four thousand streams have smaller pieces at a time, and each byte costs more.
pub const CLIENT_WINDOWS_EACH: usize = 64 * 1024;
/// The least that they may have together.
pub const CLIENT_WINDOWS_LEAST: usize = 64 * 1024 * 1024;
/// The most.
pub const CLIENT_WINDOWS_MAX: usize = 144 * 1024 * 1024;
/// How far they may be beyond the first in any case.
pub const CLIENT_WINDOWS_EXTRA_LEAST: usize = 16 * 1024 * 1024;
/// Bytes that wait for all readers of a client together. Beyond it the stream for which most wait ends (spec STREAM-26).
pub const CLIENT_UNREAD_MAX: usize = 192 * 1024 * 1024;
/// Bytes that wait to be sent on all streams of a client together: shared equally by them.
pub const CLIENT_UNSENT_MAX: usize = 64 * 1024 * 1024;
/// What each of them may have waiting in any case. More than a writer waits for.
pub const CLIENT_UNSENT_LEAST: usize = 32 * 1024;
/// Of them, how many are kept for the node's calls.
pub const CALL_STREAMS_RESERVED: usize = 1024;
/// Circuits on which a stream is tried.
pub const STREAM_TRIES_MAX: u8 = 4;
/// A stream that is not answered for this long, though its circuit lives, is tried on another circuit of its user.
pub const STREAM_MOVE_AFTER: Duration = Duration::from_secs(15);
/// On a circuit on which nothing arrived for this long a stream's first bytes wait for the answer to BEGIN.
pub const EARLY_DATA_QUIET: Duration = Duration::from_secs(30);
/// Pause between the end of a spare circuit and the next try. It doubles while none can be built.
pub const SPARE_RETRY: Duration = Duration::from_millis(200);
/// The longest such pause.
pub const SPARE_RETRY_MAX: Duration = Duration::from_secs(30);
/// A spare circuit that was never used is replaced after this long: its relays' keys and ways may be others by now.
pub const SPARE_LIFETIME: Duration = Duration::from_secs(1800);
/// A learnt build time-out is never shorter than this.
pub const BUILD_TIMEOUT_LEAST: Duration = Duration::from_secs(2);
/// Circuits a client keeps ready at most, however many streams come.
pub const SPARE_CIRCUITS_MAX: usize = 8;
/// How long a client keeps more circuits ready after it once had too few.
pub const SPARE_DEMAND_MEMORY: Duration = Duration::from_secs(300);
/// Bytes that may be written to a stream before it has a circuit.
pub const EARLY_DATA_MAX: usize = 64 * 1024;
