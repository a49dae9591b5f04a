//! Two machines and a cable that can be cut: on the operating system two network namespaces, in the world two hosts.
//!
//! The namespaces need the right to make them (root, or the like). Where that is missing the `os` test says on standard error
//! that it was skipped, and why; [`skipped`] counts. Both arms run with fewer retransmissions than the defaults, so that
//! a time-out takes seconds: [`RETRIES`], [`SYN_RETRIES`], [`BACKLOG`].
//!
//! A socket belongs to the namespace of the thread that makes it, so whatever `b` opens is opened by a task of `b`'s runtime.

use std::future::Future;
use std::io::Write;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::time::Duration;

use runtime::{Address, Connection, Env, Inbox, Post, inbox, os};
use world::{Config, End, FaultId, HostId, Link, LinkProfile, NetworkFault, Stop, TcpProfile, World};

pub const RETRIES: u32 = 3;
pub const SYN_RETRIES: u32 = 1;
pub const BACKLOG: usize = 4;

/// Which way the cable is cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// From `a` to `b`.
    There,
    /// From `b` to `a`.
    Back,
    /// Both.
    Both,
}

/// What an `os` test needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Need {
    /// Network namespaces with a cable between.
    Cable,
    /// The kernel's network emulator, `tc ... netem`.
    Netem,
}

/// Both ends.
pub struct Wire {
    pub a: Env,
    pub b: Env,
    b_host: &'static str,
    kind: Kind,
}

enum Kind {
    World { world: World, hosts: [HostId; 2], faults: Mutex<Vec<FaultId>> },
    Os(Arc<Namespaces>),
}

/// A listener of `b` that accepts when it is asked to.
pub struct Doorman {
    pub address: Address,
    ask: Post<()>,
    accepted: Inbox<Connection>,
}

impl Doorman {
    pub async fn accept(&mut self) -> Connection {
        self.ask.send(()).await.expect("the doorman lives");
        self.accepted.recv().await.expect("the doorman lives")
    }
}

impl Wire {
    /// In the world, the world.
    pub fn world(&self) -> Option<&World> {
        match &self.kind {
            Kind::World { world, .. } => Some(world),
            Kind::Os(_) => None,
        }
    }

    pub async fn listen(&self) -> Doorman {
        let (tell, mut told) = inbox(1);
        let (ask, mut asked) = inbox::<()>(1);
        let (post, accepted) = inbox(1);
        let (env, at) = (self.b.clone(), Address::new(self.b_host, 0));
        self.b.spawn_detached("doorman", async move {
            let mut listener = env.listen(at).await.expect("a free port");
            tell.post(listener.local().port);
            while asked.recv().await.is_some() {
                let Ok(connection) = listener.accept().await else { return };
                if post.send(connection).await.is_err() {
                    return;
                }
            }
        });
        let port = told.recv().await.expect("the doorman listens");
        Doorman { address: Address::new(self.b_host, port), ask, accepted }
    }

    /// Both ends of a connection that `a` opened. Keep the doorman, or nobody listens any more.
    pub async fn pair(&self) -> (Connection, Connection, Doorman) {
        let mut doorman = self.listen().await;
        let near = self.a.connect(doorman.address.clone()).await.expect("somebody listens");
        let far = doorman.accept().await;
        (near, far, doorman)
    }

    /// Silence from now on.
    pub fn cut(&self, way: Way) {
        match &self.kind {
            Kind::World { world, hosts: [a, b], faults } => {
                let link = match way {
                    Way::There => Link::one_way(*a, *b),
                    Way::Back => Link::one_way(*b, *a),
                    Way::Both => Link::between(*a, *b),
                };
                faults.lock().expect("one thread").push(world.apply(NetworkFault::Cut(link)));
            }
            Kind::Os(spaces) => spaces.neighbours(way != Way::Back, way != Way::There, NOBODY),
        }
    }

    /// The cable is whole.
    pub fn heal(&self) {
        match &self.kind {
            Kind::World { world, faults, .. } => {
                faults.lock().expect("one thread").drain(..).for_each(|fault| world.heal(fault));
            }
            Kind::Os(spaces) => spaces.neighbours(true, true, ""),
        }
    }

    /// `b`'s machine is gone.
    pub fn lose_b(&self) {
        match &self.kind {
            Kind::World { world, hosts, .. } => world.stop(hosts[1], Stop::Lost),
            Kind::Os(spaces) => spaces.ip(&["-n", &spaces.names[1], "link", "set", "v0", "down"]),
        }
    }

    /// From `a` to `b`: so many Mbit/s.
    pub fn limit(&self, mbit_s: u64) {
        match &self.kind {
            Kind::World { world, hosts: [a, b], .. } => {
                let bytes_per_second = Some(mbit_s * 125_000);
                world.set_link(*a, *b, LinkProfile { bytes_per_second, ..LinkProfile::default() });
            }
            Kind::Os(spaces) => {
                spaces.tc(&format!("tbf rate {mbit_s}mbit burst 16k latency 10s")).expect("tbf was there before");
            }
        }
    }

    /// From `a` to `b`: every flight takes so long.
    pub fn slow(&self, latency: Duration) {
        match &self.kind {
            Kind::World { world, hosts: [a, b], .. } => {
                world.set_link(*a, *b, LinkProfile { latency, ..LinkProfile::default() });
            }
            Kind::Os(spaces) => {
                spaces.tc(&format!("netem delay {}ms", latency.as_millis())).expect("netem was there before");
            }
        }
    }

    /// From `a` to `b`: so many of a hundred flights get lost.
    pub fn lose(&self, percent: u32) {
        match &self.kind {
            Kind::World { world, hosts: [a, b], .. } => {
                world.apply(NetworkFault::Loss { link: Link::one_way(*a, *b), share: percent * 10_000 });
            }
            Kind::Os(spaces) => spaces.tc(&format!("netem loss {percent}%")).expect("netem was there before"),
        }
    }
}

/// An address that no card has: what is sent there is for nobody.
const NOBODY: &str = "02:00:00:00:00:99";
const CARDS: [&str; 2] = ["02:00:00:00:00:01", "02:00:00:00:00:02"];
const ADDRESSES: [&str; 2] = ["10.77.0.1", "10.77.0.2"];

struct Namespaces {
    names: [String; 2],
}

impl Namespaces {
    fn new() -> Result<Self, String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let names = ["a", "b"].map(|side| format!("wavetank-{}-{number}-{side}", std::process::id()));
        let spaces = Self { names };
        let [a, b] = spaces.names.each_ref().map(String::as_str);
        let mut commands = vec![
            format!("ip netns add {a}"),
            format!("ip netns add {b}"),
            format!("ip -n {a} link add v0 type veth peer name v0 netns {b}"),
        ];
        for (index, name) in [a, b].into_iter().enumerate() {
            commands.extend([
                format!("ip -n {name} link set v0 address {}", CARDS[index]),
                format!("ip -n {name} addr add {}/24 dev v0", ADDRESSES[index]),
                format!("ip -n {name} link set lo up"),
                format!("ip -n {name} link set v0 up"),
            ]);
            for (key, value) in [
                ("ipv4/tcp_retries2", RETRIES as usize),
                ("ipv4/tcp_syn_retries", SYN_RETRIES as usize),
                ("core/somaxconn", BACKLOG),
            ] {
                commands.push(format!("ip netns exec {name} sh -c echo|{value}|>/proc/sys/net/{key}"));
            }
        }
        for command in &commands {
            run(command)?;
        }
        spaces.neighbours(true, true, "");
        Ok(spaces)
    }

    fn ip(&self, arguments: &[&str]) {
        run(&format!("ip {}", arguments.join(" "))).expect("it was allowed before");
    }

    fn tc(&self, discipline: &str) -> Result<(), String> {
        run(&format!("ip netns exec {} tc qdisc replace dev v0 root {discipline}", self.names[0]))
    }

    /// Where each side sends what is for the other: to its card, or to nobody's.
    fn neighbours(&self, there: bool, back: bool, card: &str) {
        for (from, wanted) in [(0, there), (1, back)] {
            if wanted {
                let to = 1 - from;
                let card = if card.is_empty() { CARDS[to] } else { card };
                let arguments = ["lladdr", card, "dev", "v0", "nud", "permanent"];
                self.ip(&[&["-n", &self.names[from], "neigh", "replace", ADDRESSES[to]], &arguments[..]].concat());
            }
        }
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in &self.names {
            drop(run(&format!("ip netns del {name}")));
        }
    }
}

/// Runs a command; its words are separated by spaces, a `|` in the last one stands for a space.
fn run(command: &str) -> Result<(), String> {
    let mut words = command.split(' ').map(|word| word.replace('|', " "));
    let program = words.next().expect("a program");
    let output = Command::new(program).args(words).output().map_err(|error| format!("{command}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

/// Why what is needed cannot be had here; nothing if it can.
pub fn missing(need: Need) -> Option<String> {
    static CABLE: OnceLock<Option<String>> = OnceLock::new();
    static NETEM: OnceLock<Option<String>> = OnceLock::new();
    let cable = CABLE.get_or_init(|| Namespaces::new().err());
    if need == Need::Cable || cable.is_some() {
        return cable.clone();
    }
    let probe = || Namespaces::new().and_then(|spaces| spaces.tc("netem delay 1ms")).err();
    NETEM.get_or_init(probe).clone()
}

/// Enters the namespace with this thread; threads that it makes are in it too.
fn enter(name: &str) {
    #[expect(clippy::disallowed_types, reason = "a namespace is entered by its file")]
    let file = std::fs::File::open(format!("/run/netns/{name}")).expect("the namespace was made");
    let kind = Some(rustix::thread::LinkNameSpaceType::Network);
    rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), kind).expect("allowed to enter");
}

#[expect(clippy::disallowed_methods, reason = "a thread is in one namespace, and each side needs its own")]
fn thread(run: impl FnOnce() + Send + 'static) -> std::thread::JoinHandle<()> {
    std::thread::spawn(run)
}

pub fn on_the_os<F>(name: &str, need: Need, body: impl FnOnce(Wire) -> F + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    if let Some(why) = missing(need) {
        // Past the capture of the test harness: a skipped test must be seen.
        drop(writeln!(std::io::stderr(), "\nSKIPPED {name} on the operating system: {why}"));
        return;
    }
    let spaces = Arc::new(Namespaces::new().expect("it was allowed before"));
    let roots = [(); 2].map(|()| tempfile::tempdir().expect("a temporary directory"));
    let (send_b, receive_b) = mpsc::channel();
    let (done, mut wait) = inbox::<()>(1);
    let [root_a, root_b] = roots.each_ref().map(|root| root.path().to_owned());
    let b = thread({
        let spaces = Arc::clone(&spaces);
        move || {
            enter(&spaces.names[1]);
            os::run(root_b, Some(2), |env| async move {
                send_b.send(env).expect("a waits");
                wait.recv().await;
            });
        }
    });
    let a = thread(move || {
        enter(&spaces.names[0]);
        os::run(root_a, Some(1), |env| async move {
            let _done = done;
            let b = receive_b.recv().expect("b has started");
            let wire = Wire { a: env.clone(), b, b_host: ADDRESSES[1], kind: Kind::Os(spaces) };
            let body = env.spawn("body", body(wire));
            let outcome = env.timeout(Duration::from_secs(60), body.join()).await.expect("an end within a minute");
            outcome.expect("the body ends well");
        });
    });
    let outcome = a.join();
    b.join().expect("b ends well");
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

pub fn in_the_world<F: Future<Output = ()> + Send + 'static>(body: impl FnOnce(Wire) -> F) {
    let tcp = TcpProfile { retries: RETRIES, syn_retries: SYN_RETRIES, backlog: BACKLOG, ..TcpProfile::default() };
    let outcome = World::run_with(1, Config { tcp, ..Config::default() }, |world| async move {
        let hosts = [world.add_host("a"), world.add_host("b")];
        let [a, b] = hosts.map(|host| world.start(host));
        let kind = Kind::World { world: world.clone(), hosts, faults: Mutex::default() };
        let body = a.clone().spawn("body", body(Wire { a, b, b_host: "b", kind }));
        if body.join().await.is_none() {
            match world.ended(hosts[0]).await {
                End::Panicked { message, .. } => panic!("{message}"),
                end => panic!("{end:?}"),
            }
        }
    });
    outcome.expect("something is left to happen until the body ends");
}

/// Two tests of each body: `os` and `sim`. `needs` says what the first needs.
#[macro_export]
macro_rules! wired {
    (needs $need:ident; $($(#[$doc:meta])* async fn $name:ident($wire:ident) $body:block)*) => {$(
        mod $name {
            #[allow(unused_imports, reason = "a few bodies need nothing")]
            use super::*;

            $(#[$doc])*
            async fn body($wire: $crate::wire::Wire) $body

            #[test]
            fn os() {
                $crate::wire::on_the_os(stringify!($name), $crate::wire::Need::$need, body);
            }

            #[test]
            fn sim() {
                $crate::wire::in_the_world(body);
            }
        }
    )*};
}
