//! The lines of `/metrics`.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};

use broker::lifecycle::BrokerState;
use broker::vitals::{PartitionVitals, Traffic, Vitals};
use transport::server::{Counters, LATENCY_BUCKETS, latency_bound};

/// All that a node has to say.
pub fn text(vitals: &Vitals) -> String {
    let mut out = Lines::default();
    node(&mut out, vitals);
    cluster(&mut out, vitals);
    replicas(&mut out, vitals);
    topics(&mut out, vitals);
    logs(&mut out, vitals);
    requests(&mut out, vitals);
    out.0
}

#[derive(Default)]
struct Lines(String);

impl Lines {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.head(name, kind, help);
        let _ = writeln!(self.0, "{name} {value}");
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.one(name, "gauge", help, value);
    }

    fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.one(name, "counter", help, value);
    }

    fn labelled(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            self.0.push(if index == 0 { '{' } else { ',' });
            let text = text.replace('\\', "\\\\").replace('"', "\\\"");
            let _ = write!(self.0, "{label}=\"{text}\"");
        }
        let _ = writeln!(self.0, "}} {value}");
    }
}

fn node(out: &mut Lines, vitals: &Vitals) {
    if let Some(state) = vitals.state {
        // Kafka's numbers; a fenced broker is Running there.
        let number = match state {
            BrokerState::Starting => 1,
            BrokerState::Recovery => 2,
            BrokerState::Running | BrokerState::Fenced => 3,
            BrokerState::PendingControlledShutdown => 6,
            BrokerState::ShuttingDown => 7,
        };
        let help = "1 starting, 2 recovery, 3 running, 6 pending controlled shutdown, 7 shutting down";
        out.gauge("kafka_server_kafkaserver_brokerstate", help, number);
        let fenced = u8::from(state == BrokerState::Fenced);
        out.gauge("wavetank_server_fenced", "1 if this broker was unfenced and is fenced now", fenced);
    }
    let quorum = &vitals.quorum;
    let leader = quorum.leader.map_or(-1, |leader| leader.0);
    out.gauge(
        "kafka_server_raft_metrics_current_leader",
        "The quorum's leader as this node knows it, -1 if none",
        leader,
    );
    out.gauge("kafka_server_raft_metrics_current_epoch", "The quorum's epoch", quorum.epoch.0);
    let high_watermark = quorum.high_watermark.map_or(-1, |offset| offset.0);
    out.gauge("kafka_server_raft_metrics_high_watermark", "What is committed of the metadata log", high_watermark);
    out.gauge("kafka_server_raft_metrics_log_end_offset", "The end of this node's metadata log", quorum.log_end.0);
}

fn cluster(out: &mut Lines, vitals: &Vitals) {
    // As in Kafka the active controller tells of the cluster, the others say 0.
    let active = vitals.is_active_controller();
    let cluster = if active { vitals.cluster } else { Default::default() };
    let prefix = "kafka_controller_kafkacontroller";
    let mut gauge = |name: &str, help: &str, value: usize| out.gauge(&format!("{prefix}_{name}"), help, value);
    gauge("activecontrollercount", "1 at the active controller", usize::from(active));
    gauge("activebrokercount", "Brokers that are not fenced", cluster.active_brokers);
    gauge("fencedbrokercount", "Brokers that are fenced", cluster.fenced_brokers);
    gauge("globaltopiccount", "Topics", cluster.topics);
    gauge("globalpartitioncount", "Partitions", cluster.partitions);
    gauge("offlinepartitionscount", "Partitions without a leader", cluster.offline_partitions);
    gauge(
        "preferredreplicaimbalancecount",
        "Partitions that not their first replica leads",
        cluster.preferred_imbalance,
    );
}

fn partitions(vitals: &Vitals) -> impl Iterator<Item = &PartitionVitals> {
    vitals.shards.iter().flat_map(|shard| &shard.partitions)
}

fn replicas(out: &mut Lines, vitals: &Vitals) {
    if vitals.state.is_none() {
        return;
    }
    let led = |wanted: fn(&PartitionVitals) -> bool| partitions(vitals).filter(|it| it.leads && wanted(it)).count();
    let prefix = "kafka_server_replicamanager";
    let offline: usize = vitals.shards.iter().map(|shard| shard.offline).sum();
    for (name, help, value) in [
        ("partitioncount", "Partitions with a replica here", partitions(vitals).count()),
        ("leadercount", "Partitions led here", led(|_| true)),
        ("underreplicatedpartitions", "Led here with fewer in sync than replicas", led(|it| it.isr < it.replicas)),
        ("underminisrpartitioncount", "Led here with fewer in sync than acks=all needs", led(|it| it.isr < it.min_isr)),
        ("atminisrpartitioncount", "Led here with just as many as acks=all needs", led(|it| it.isr == it.min_isr)),
        ("offlinereplicacount", "Replicas here whose log has failed", offline),
    ] {
        out.gauge(&format!("{prefix}_{name}"), help, value);
    }
    let shrinks: u64 = vitals.shards.iter().map(|shard| shard.isr_shrinks).sum();
    let expands: u64 = vitals.shards.iter().map(|shard| shard.isr_expands).sum();
    out.counter(&format!("{prefix}_isrshrinks_total"), "How often an ISR lost a member at a leader here", shrinks);
    out.counter(&format!("{prefix}_isrexpands_total"), "How often an ISR gained a member at a leader here", expands);
}

fn topics(out: &mut Lines, vitals: &Vitals) {
    let mut topics: BTreeMap<&str, Traffic> = BTreeMap::new();
    let mut all = Traffic::default();
    for partition in partitions(vitals) {
        *topics.entry(&partition.name.topic).or_default() += partition.traffic;
        all += partition.traffic;
    }
    vitals.shards.iter().for_each(|shard| all += shard.gone);
    if vitals.state.is_none() {
        return;
    }
    type Part = fn(&Traffic) -> u64;
    let meters: [(&str, &str, bool, Part); 5] = [
        ("messagesin", "Records of producers", true, |it| it.messages_in),
        ("bytesin", "Bytes of producers' batches", true, |it| it.bytes_in),
        ("bytesout", "Bytes of batches given to consumers", true, |it| it.bytes_out),
        ("replicationbytesin", "Bytes of batches copied from leaders", false, |it| it.replication_bytes_in),
        ("replicationbytesout", "Bytes of batches given to followers", false, |it| it.replication_bytes_out),
    ];
    for (name, help, by_topic, part) in meters {
        let name = format!("kafka_server_brokertopicmetrics_{name}_total");
        // All topics together have no label; those that are gone count only there.
        out.counter(&name, help, part(&all));
        for (topic, traffic) in topics.iter().filter(|_| by_topic) {
            out.labelled(&name, &[("topic", topic)], part(traffic));
        }
    }
}

fn logs(out: &mut Lines, vitals: &Vitals) {
    type Part = fn(&PartitionVitals) -> i64;
    let gauges: [(&str, &str, Part); 7] = [
        ("kafka_log_log_logstartoffset", "First offset of the log", |it| it.log_start_offset.0),
        ("kafka_log_log_logendoffset", "The end of the log", |it| it.log_end_offset.0),
        ("kafka_log_log_size", "Bytes of the log", |it| i64::try_from(it.size).unwrap_or(i64::MAX)),
        ("kafka_log_log_numlogsegments", "Segments of the log", |it| it.segments as i64),
        ("kafka_cluster_partition_highwatermark", "What is committed", |it| it.high_watermark.0),
        ("kafka_cluster_partition_insyncreplicascount", "Replicas in sync, at the leader", |it| it.isr as i64),
        ("kafka_cluster_partition_underreplicated", "1 at the leader if fewer are in sync than there are", |it| {
            i64::from(it.isr < it.replicas)
        }),
    ];
    for (name, help, part) in gauges {
        out.head(name, "gauge", help);
        let of_leader = name.ends_with("insyncreplicascount") || name.ends_with("underreplicated");
        for partition in partitions(vitals).filter(|partition| partition.leads || !of_leader) {
            let index = partition.name.partition.to_string();
            out.labelled(name, &[("topic", &partition.name.topic), ("partition", &index)], part(partition));
        }
    }
}

fn requests(out: &mut Lines, vitals: &Vitals) {
    let listeners = &vitals.listeners;
    let name = "kafka_server_socket_server_metrics_connection_count";
    out.head(name, "gauge", "Connections that are open");
    listeners.iter().for_each(|(listener, it)| out.labelled(name, &[("listener", listener)], it.connections()));
    let name = "kafka_server_socket_server_metrics_connection_creation_total";
    out.head(name, "counter", "Connections accepted");
    listeners
        .iter()
        .for_each(|(listener, it)| out.labelled(name, &[("listener", listener)], it.connections_accepted()));
    let name = "wavetank_network_connections_refused_total";
    out.head(name, "counter", "Connections closed for what their peer sent");
    listeners.iter().for_each(|(listener, it)| out.labelled(name, &[("listener", listener)], it.connections_refused()));

    let prefix = "kafka_network_requestmetrics";
    let of_apis = |name: &str, help: &str, out: &mut Lines, part: &dyn Fn(&Counters, protocol::ApiKey) -> u64| {
        let name = format!("{prefix}_{name}_total");
        out.head(&name, "counter", help);
        for (listener, counters) in listeners {
            for api in Vitals::apis(counters) {
                let request = format!("{api:?}");
                out.labelled(&name, &[("listener", listener), ("request", &request)], part(counters, api));
            }
        }
    };
    of_apis("requests", "Requests taken", out, &|it, api| it.requests(api));
    of_apis("requestbytes", "Bytes of requests", out, &|it, api| it.bytes(api).0);
    of_apis("responsebytes", "Bytes of responses", out, &|it, api| it.bytes(api).1);

    let name = format!("{prefix}_totaltimems");
    out.head(&name, "histogram", "From a request's arrival to its response, milliseconds; waiting on purpose included");
    for (listener, counters) in listeners {
        for api in Vitals::apis(counters) {
            let (buckets, sum) = counters.latencies(api);
            let request = format!("{api:?}");
            let mut below = 0;
            for (bucket, count) in buckets.iter().enumerate().take(LATENCY_BUCKETS) {
                below += count;
                let bound =
                    latency_bound(bucket).map_or("+Inf".to_owned(), |it| (it.as_secs_f64() * 1000.0).to_string());
                let labels = [("listener", listener.as_str()), ("request", &request), ("le", &bound)];
                out.labelled(&format!("{name}_bucket"), &labels, below);
            }
            let labels = [("listener", listener.as_str()), ("request", &request)];
            out.labelled(&format!("{name}_sum"), &labels, sum.as_secs_f64() * 1000.0);
            out.labelled(&format!("{name}_count"), &labels, below);
        }
    }
}
