//! From what was written to what a node is told: which properties are acted on, which are not, which nobody knows.
//!
//! The command line wins over the file, the file over the defaults. Every problem is told at once, at its line. A node that
//! names no quorum is its own: one combined broker and controller.

use std::collections::BTreeMap;
use std::path::PathBuf;

use broker::{Config, ConfigError};
use metadata::broker_configs::{broker_config, broker_configs};
use metadata::configs::{inherited_from_file, topic_config};
use runtime::{Address, os};

use crate::Arguments;
use problem::Place;

use crate::problems::{Problems, Source, closest};
use crate::properties::{self, Property};

/// How far the controllers' port lies above the clients', where nobody says.
pub const CONTROLLER_PORTS: u16 = 10_000;
/// Where clients connect, where nobody says.
pub const LISTEN: (&str, u16) = ("127.0.0.1", 9092);
/// Where the data are, where nobody says.
pub const DATA: &str = "data";

/// Kafka knows these, and so does this file; a node itself need not.
const OURS: &[&str] = &[
    "broker.id",
    "controller.quorum.bootstrap.servers",
    "inter.broker.listener.name",
    "listener.security.protocol.map",
    "log.dir",
    "metadata.log.dir",
    "security.inter.broker.protocol",
];

/// What a node is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// For [`broker::Broker::start`], with [`Config::log_dir`] relative to the working directory.
    pub config: Config,
}

impl Settings {
    /// The log directory.
    pub fn data(&self) -> PathBuf {
        PathBuf::from(&self.config.log_dir)
    }
}

/// What came of reading.
#[derive(Clone, Debug)]
pub struct Read {
    /// Where properties came from.
    pub sources: Vec<Source>,
    /// What is wrong, or not acted on.
    pub problems: Problems,
    /// Nothing if there was an error.
    pub settings: Option<Settings>,
}

/// Reads the file and the command line. Fails if the file cannot be read.
#[expect(
    clippy::disallowed_methods,
    reason = "the configuration file is read before there is a process that has a seam"
)]
pub fn read(arguments: &Arguments) -> Result<Read, String> {
    let file = match &arguments.config {
        None => None,
        Some(path) => {
            let text = std::fs::read_to_string(path);
            let text = text.map_err(|error| format!("failed to read {}: {error}", path.display()))?;
            Some(Source { path: path.display().to_string(), text })
        }
    };
    Ok(settle(file, &command_line(arguments)))
}

/// What the command line says, as `name=value` lines.
fn command_line(arguments: &Arguments) -> String {
    let mut lines: Vec<String> = arguments.sets.clone();
    if let Some((host, port)) = &arguments.listen {
        lines.push(format!("listeners=PLAINTEXT://{host}:{port}"));
    }
    if let Some(data) = &arguments.data {
        lines.push(format!("log.dirs={}", data.display()));
    }
    lines.join("\n")
}

/// Reads a file's properties and those of the command line.
pub fn settle(file: Option<Source>, command_line: &str) -> Read {
    let mut problems = Problems::default();
    let mut sources = Vec::new();
    let mut given = BTreeMap::new();
    if let Some(file) = file {
        for property in properties::read(&file.path, &file.text, 0, &mut problems) {
            given.insert(property.name.clone(), property);
        }
        sources.push(file);
    }
    for property in typed(command_line, sources.len(), &mut problems) {
        given.insert(property.name.clone(), property);
    }
    sources.push(Source { path: "the command line".to_owned(), text: command_line.to_owned() });

    let mut settling = Settling { given, told: Vec::new(), problems };
    let settings = settling.settle();
    let settings = settings.filter(|_| !settling.problems.has_errors());
    Read { sources, problems: settling.problems, settings }
}

/// One `name=value` a line, nothing escaped.
fn typed(text: &str, source: usize, problems: &mut Problems) -> Vec<Property> {
    let mut list = Vec::new();
    let mut at = 0;
    for line in text.split('\n').filter(|_| !text.is_empty()) {
        let place = |from: usize, to: usize| Place::at(source, at + from..at + to);
        match line.split_once('=') {
            Some((name, value)) => list.push(Property {
                name: name.trim().to_owned(),
                value: value.trim().to_owned(),
                name_at: place(0, name.len()),
                value_at: place(name.len() + 1, line.len()),
            }),
            None => {
                let problem = problems.error(Some(place(0, line.len())), "a property without a value");
                problem.label("the form is `--set name=value`");
            }
        }
        at += line.len() + 1;
    }
    list
}

struct Settling {
    given: BTreeMap<String, Property>,
    /// What Kafka knows and nobody acts on: DescribeConfigs tells it.
    told: Vec<(String, String)>,
    problems: Problems,
}

impl Settling {
    fn settle(&mut self) -> Option<Settings> {
        let mut acted = BTreeMap::new();
        for property in std::mem::take(&mut self.given).into_values() {
            if self.judge(&property) {
                acted.insert(property.name.clone(), property);
            }
        }
        self.given = acted;
        self.rename("broker.id", "node.id");
        self.rename("log.dir", "log.dirs");
        self.directories();

        let mut values: BTreeMap<String, String> = BTreeMap::new();
        for (name, property) in &self.given {
            if Config::acts_on(name) {
                let word = property.value.to_ascii_lowercase();
                let boolean = matches!(&*word, "true" | "false");
                values.insert(name.clone(), if boolean { word } else { property.value.clone() });
            }
        }
        self.complete(&mut values);
        let pairs = values.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let mut config = match Config::from_properties(pairs) {
            Ok(config) => config,
            Err(errors) => {
                errors.into_iter().for_each(|error| self.refused(error));
                return None;
            }
        };
        config.given.extend(std::mem::take(&mut self.told));
        config.topic_defaults = inherited_from_file(|name| config.given.get(name).map(String::as_str));
        self.listeners(&mut config);
        self.voters(&config);
        Some(Settings { config })
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.given.get(name).map(|property| property.value.as_str())
    }

    fn at(&self, name: &str) -> Option<Place> {
        self.given.get(name).map(|property| property.value_at.clone())
    }

    /// Whether a property is acted on, here or in a node.
    fn judge(&mut self, property: &Property) -> bool {
        let name = property.name.as_str();
        let acted = Config::acts_on(name) || OURS.contains(&name);
        if let Some(known) = broker_config(name) {
            if let Err(problem) = known.check(&property.value) {
                let title = format!("property `{name}` cannot be `{}`", property.value);
                self.problems.error(Some(property.value_at.clone()), title).label(problem);
                return false;
            }
        } else if !acted && !name.starts_with("listener.name.") {
            self.unknown(property);
            return false;
        }
        if !acted {
            let title = format!("property `{name}` is Kafka's, and this version does not act on it");
            self.problems.warning(Some(property.name_at.clone()), title);
            self.told.push((name.to_owned(), property.value.clone()));
        }
        acted
    }

    fn unknown(&mut self, property: &Property) {
        let name = property.name.as_str();
        let problem = self.problems.error(Some(property.name_at.clone()), format!("unknown property `{name}`"));
        if let Some(topic) = topic_config(name) {
            match topic.broker_name {
                Some(broker) => {
                    problem.label(format!("this is a topic's key; a broker's default for it is `{broker}`"))
                }
                None => problem.label("this is a topic's key; a broker has no default for it"),
            };
            return;
        }
        let known = broker_configs().iter().map(|config| config.name);
        let own = broker::config::Numbers::NAMES.iter().chain(Config::OTHER_NAMES).copied();
        if let Some(best) = closest(name, known.chain(own)) {
            problem.label(format!("did you mean `{best}`?"));
        } else {
            problem.label("neither Kafka 4.3 nor this program has it");
        }
    }

    /// A property's second name; under the first it counts more.
    fn rename(&mut self, second: &str, first: &str) {
        if let Some(property) = self.given.remove(second)
            && !self.given.contains_key(first)
        {
            self.given.insert(first.to_owned(), property);
        }
    }

    fn directories(&mut self) {
        let dirs = self.text("log.dirs").unwrap_or(DATA).to_owned();
        if dirs.split(',').filter(|dir| !dir.trim().is_empty()).count() != 1 {
            let at = self.at("log.dirs");
            self.problems.error(at, "`log.dirs` must name one directory").label("several come with a later version");
        }
        if self.text("metadata.log.dir").is_some_and(|dir| dir != dirs) {
            let at = self.at("metadata.log.dir");
            self.problems.error(at, "the metadata log cannot have a directory of its own").label("it is in `log.dirs`");
        }
    }

    /// Puts in what nobody said.
    fn complete(&mut self, values: &mut BTreeMap<String, String>) {
        values.entry("log.dirs".to_owned()).or_insert_with(|| DATA.to_owned());
        let roles = values.get("process.roles").map_or("broker,controller", String::as_str).to_owned();
        let has = |role: &str| roles.split(',').any(|it| it.trim() == role);
        let controllers = values.get("controller.listener.names").map_or("CONTROLLER", String::as_str).to_owned();
        if has("broker") {
            let (host, port) = LISTEN;
            values.entry("listeners".to_owned()).or_insert_with(|| format!("PLAINTEXT://{host}:{port}"));
        }
        if values.contains_key("controller.quorum.voters") || !(has("broker") && has("controller")) {
            return;
        }
        if let Some(at) = self.at("controller.quorum.bootstrap.servers") {
            let problem = self.problems.error(Some(at), "a quorum whose voters change comes with a later version");
            problem.label("name the voters: `controller.quorum.voters=1@host:port,…`");
            return;
        }
        // Its own quorum: the controller listens beside the clients' listener.
        let node = values.entry("node.id".to_owned()).or_insert_with(|| "1".to_owned()).clone();
        let listeners = values.get_mut("listeners").expect("put in above");
        let own = format!("{controllers}://");
        let mut address = listeners.split(',').find_map(|it| it.trim().strip_prefix(&own)).map(str::to_owned);
        if address.is_none() {
            let first = listeners.split(',').next().and_then(|it| it.split_once("://")?.1.trim().rsplit_once(':'));
            let Some((host, port)) = first.and_then(|(host, port)| Some((reachable(host), port.parse::<u16>().ok()?)))
            else {
                return;
            };
            let Some(port) = port.checked_add(CONTROLLER_PORTS) else {
                let at = self.at("listeners");
                let problem = self.problems.error(at, format!("port {port} leaves none for the controller"));
                problem.label(format!("its port is {CONTROLLER_PORTS} above; or name a listener `{own}HOST:PORT`"));
                return;
            };
            let beside = format!("{host}:{port}");
            listeners.push_str(&format!(",{own}{beside}"));
            address = Some(beside);
        }
        let address = address.expect("there or put in");
        let address =
            address.rsplit_once(':').map_or(address.clone(), |(host, port)| format!("{}:{port}", reachable(host)));
        values.insert("controller.quorum.voters".to_owned(), format!("{node}@{address}"));
    }

    fn refused(&mut self, error: ConfigError) {
        match error {
            ConfigError::Invalid { name, value, problem } => {
                let at = self.at(&name);
                self.problems.error(at, format!("property `{name}` cannot be `{value}`")).label(problem);
            }
            ConfigError::Missing(name) => {
                let problem = self.problems.error(None, format!("property `{name}` is missing"));
                problem.label(match name {
                    "node.id" => "with a quorum of several nodes each needs its own: `node.id=1`",
                    _ => "who the controllers are: `controller.quorum.voters=1@host:port,2@host:port,…`",
                });
            }
            ConfigError::Unknown(name) => {
                self.problems.error(self.at(&name), format!("unknown property `{name}`"));
            }
        }
    }

    /// What a listener needs to be served as it is told to clients.
    fn listeners(&mut self, config: &mut Config) {
        let clients: Vec<String> = (config.listeners.iter())
            .filter(|listener| listener.name != config.controller_listener_name)
            .map(|listener| listener.name.clone())
            .collect();
        if config.is_broker && clients.is_empty() {
            let problem = self.problems.error(self.at("listeners"), "no listener for clients");
            problem.label("a broker needs one: `PLAINTEXT://host:port`");
        }
        if !config.is_broker && !clients.is_empty() {
            let title = format!("listener `{}` would be served by nobody", clients[0]);
            self.problems.error(self.at("listeners"), title).label("a controller has its controller listener only");
        }
        if let Some(second) = clients.get(1) {
            let title = format!("listener `{second}` would not be served");
            let problem = self.problems.error(self.at("listeners"), title);
            problem.label("one listener for clients and brokers; several come with a later version");
        }
        if config.is_controller && config.controller_listener().is_none() {
            let name = &config.controller_listener_name;
            let problem = self.problems.error(self.at("listeners"), "no listener for the controller");
            problem.label(format!("add `{name}://host:port`, as in `controller.quorum.voters`"));
        }
        let map = self.text("listener.security.protocol.map").unwrap_or_default().to_owned();
        for listener in config.listeners.iter() {
            let name = listener.name.as_str();
            let mapped = map.split(',').filter_map(|pair| pair.split_once(':')).find(|(it, _)| it.trim() == name);
            let protocol = match mapped {
                Some((_, protocol)) => protocol.trim(),
                None if name == config.controller_listener_name => "PLAINTEXT",
                None => name,
            };
            match protocol {
                "PLAINTEXT" => {}
                "SSL" | "SASL_PLAINTEXT" | "SASL_SSL" => {
                    let place = self.at("listener.security.protocol.map").or(self.at("listeners"));
                    let problem = self.problems.error(place, format!("listener `{name}` wants {protocol}"));
                    problem.label("this version serves PLAINTEXT only");
                }
                _ => {
                    let problem =
                        self.problems.error(self.at("listeners"), format!("listener `{name}` has no protocol"));
                    problem.label(format!("add `listener.security.protocol.map={name}:PLAINTEXT`"));
                }
            }
        }
        if let Some(name) = self.text("inter.broker.listener.name")
            && clients.first().is_some_and(|first| first != name)
        {
            let title = format!("brokers talk over listener `{}`, not `{name}`", clients[0]);
            self.problems.error(self.at("inter.broker.listener.name"), title);
        }
        if self.text("security.inter.broker.protocol").is_some_and(|protocol| protocol != "PLAINTEXT") {
            let problem =
                self.problems.error(self.at("security.inter.broker.protocol"), "brokers talk in PLAINTEXT only");
            problem.label("others come with a later version");
        }
        for listener in &mut config.advertised_listeners {
            if listener.name == config.controller_listener_name {
                continue;
            }
            if listener.address.host.is_empty() {
                listener.address = Address::new(os::host_name(), listener.address.port);
            } else if is_every_interface(&listener.address.host) {
                let place = self.at("advertised.listeners").or(self.at("listeners"));
                let problem =
                    self.problems.error(place, format!("clients cannot connect to {}", listener.address.host));
                let (name, port) = (&listener.name, listener.address.port);
                problem.label(format!("name what they can: `advertised.listeners={name}://HOST:{port}`"));
            }
        }
    }

    fn voters(&mut self, config: &Config) {
        let own = config.voters.iter().find(|voter| voter.id == config.node_id);
        let node = config.node_id;
        if config.is_controller && own.is_none() {
            let title = format!("node {node} is a controller, and no voter");
            let place = self.at("controller.quorum.voters");
            self.problems.error(place, title).label(format!("add `{node}@host:port`"));
        }
        if !config.is_controller && own.is_some() {
            let title = format!("node {node} is a voter, and no controller");
            self.problems.error(self.at("process.roles"), title).label("add `controller` to `process.roles`");
        }
    }
}

/// A host by which this machine reaches itself.
fn reachable(host: &str) -> &str {
    if host.is_empty() || is_every_interface(host) { "127.0.0.1" } else { host }
}

fn is_every_interface(host: &str) -> bool {
    matches!(host, "0.0.0.0" | "::" | "[::]")
}
