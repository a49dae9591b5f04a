//! What several tests configure alike.

/// Sessions and elections of three nodes in the world that take a second or two.
pub const QUICK: [(&str, &str); 7] = [
    ("broker.heartbeat.interval.ms", "300"),
    ("broker.session.timeout.ms", "1500"),
    ("controller.quorum.fetch.timeout.ms", "600"),
    ("controller.quorum.election.timeout.ms", "300"),
    ("controller.quorum.request.timeout.ms", "600"),
    ("controller.quorum.append.linger.ms", "5"),
    ("controller.socket.timeout.ms", "600"),
];
