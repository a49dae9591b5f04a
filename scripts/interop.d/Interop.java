// Apache Kafka's own Java client. See scripts/interop.
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.*;

public class Interop {
    static final List<String> CODECS = List.of("none", "gzip", "snappy", "lz4", "zstd");
    static final int COUNT = 50;
    static String bootstrap;
    static int nodes;
    static Admin admin;

    interface Work { Object run() throws Exception; }

    static void step(String feature, Work work) {
        try {
            Object detail = work.run();
            System.out.println(feature + "\tok\t" + (detail == null ? "" : detail));
        } catch (Throwable error) {
            Throwable cause = error instanceof ExecutionException ? error.getCause() : error;
            System.out.println(feature + "\tFAIL\t" + String.valueOf(cause).replaceAll("\\s+", " "));
        }
        System.out.flush();
    }

    static void check(boolean good, Object said) {
        if (!good) throw new IllegalStateException(String.valueOf(said));
    }

    static Map<String, Object> with(String... more) {
        Map<String, Object> config = new HashMap<>(Map.of("bootstrap.servers", bootstrap));
        for (int at = 0; at < more.length; at += 2) config.put(more[at], more[at + 1]);
        return config;
    }

    static void create(String topic, int partitions, Map<String, String> configs) throws Exception {
        NewTopic wanted = new NewTopic(topic, partitions, (short) Math.min(3, nodes)).configs(configs);
        admin.createTopics(List.of(wanted)).all().get(30, TimeUnit.SECONDS);
    }

    static KafkaProducer<byte[], byte[]> producer(String... more) {
        return new KafkaProducer<>(with(more), new ByteArraySerializer(), new ByteArraySerializer());
    }

    static void produce(List<ProducerRecord<byte[], byte[]>> records, String... more) throws Exception {
        try (var producer = producer(more)) {
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (var record : records) sent.add(producer.send(record));
            for (var one : sent) one.get(90, TimeUnit.SECONDS);
        }
    }

    static List<ConsumerRecord<byte[], byte[]>> consume(String topic, int count, int partitions, String... more) {
        List<String> config = new ArrayList<>(List.of("auto.offset.reset", "earliest", "enable.auto.commit", "false"));
        config.addAll(List.of(more));
        List<ConsumerRecord<byte[], byte[]>> records = new ArrayList<>();
        try (var consumer = new KafkaConsumer<>(with(config.toArray(new String[0])), new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            List<TopicPartition> all = new ArrayList<>();
            for (int partition = 0; partition < partitions; partition++) all.add(new TopicPartition(topic, partition));
            consumer.assign(all);
            for (long end = System.nanoTime() + 60_000_000_000L; records.size() < count && System.nanoTime() < end;)
                consumer.poll(Duration.ofMillis(500)).forEach(records::add);
        }
        check(records.size() >= count, records.size() + " of " + count + " came");
        return records;
    }

    static String value(String topic, int number) { return topic + " " + number + " again and again and again"; }

    static List<ProducerRecord<byte[], byte[]>> values(String topic, int count) {
        List<ProducerRecord<byte[], byte[]>> list = new ArrayList<>();
        for (int number = 0; number < count; number++)
            list.add(new ProducerRecord<>(topic, value(topic, number).getBytes(StandardCharsets.UTF_8)));
        return list;
    }

    static Object same(String topic, int count) {
        int number = 0;
        for (var record : consume(topic, count, 1)) {
            String back = new String(record.value(), StandardCharsets.UTF_8);
            check(back.equals(value(topic, number)), topic + ": " + back + " where " + number + " should be");
            number++;
        }
        return null;
    }

    static ProducerRecord<byte[], byte[]> at(String topic, long timestamp) {
        return new ProducerRecord<>(topic, 0, timestamp, null, new byte[] {1});
    }

    static long offset(String topic, OffsetSpec spec) throws Exception {
        return admin.listOffsets(Map.of(new TopicPartition(topic, 0), spec)).all().get(30, TimeUnit.SECONDS).values().iterator().next().offset();
    }

    static void until(Callable<Boolean> good, String otherwise) throws Exception {
        for (int tries = 0; tries < 50; tries++) {
            try {
                if (good.call()) return;
            } catch (ExecutionException notYet) {
                // A broker may be asked before it has heard of what the controller has done.
            }
            Thread.sleep(100);
        }
        check(false, otherwise);
    }

    static int partitions(String topic) throws Exception {
        return admin.describeTopics(List.of(topic)).allTopicNames().get(30, TimeUnit.SECONDS).get(topic).partitions().size();
    }

    static void ask(String what, int node) throws Exception {
        System.out.println("!" + what + " " + node);
        System.out.flush();
        while (System.in.read() != '\n') { }
    }

    public static void main(String[] arguments) throws Exception {
        boolean read = arguments[0].equals("read");
        bootstrap = arguments[read ? 1 : 0];
        nodes = read ? 1 : Integer.parseInt(arguments[1]);
        admin = Admin.create(with());
        if (read) {
            for (String writer : arguments[2].split(","))
                step(writer, () -> {
                    for (String codec : CODECS) same("x-" + writer + "-" + codec, COUNT);
                    return null;
                });
        } else {
            judge();
        }
        admin.close();
    }

    static void judge() {
        step("metadata", () -> {
            int found = admin.describeCluster().nodes().get(30, TimeUnit.SECONDS).size();
            check(found == nodes, found + " nodes");
            return null;
        });
        step("topics", () -> {
            for (String codec : CODECS) create("x-java-" + codec, 1, Map.of());
            create("java", 3, Map.of());
            until(() -> partitions("java") == 3, "it has not three partitions");
            return null;
        });
        step("produce", () -> { produce(values("x-java-none", COUNT), "enable.idempotence", "false"); return null; });
        step("consume", () -> same("x-java-none", COUNT));
        for (String codec : CODECS.subList(1, 5))
            step(codec, () -> {
                produce(values("x-java-" + codec, COUNT), "enable.idempotence", "false", "compression.type", codec);
                return same("x-java-" + codec, COUNT);
            });
        step("headers", () -> {
            create("java-headers", 1, Map.of());
            var record = new ProducerRecord<byte[], byte[]>("java-headers", "k".getBytes(), null);
            record.headers().add("origin", "interop".getBytes()).add("null", null).add("origin", new byte[0]);
            produce(List.of(record), "enable.idempotence", "false");
            var back = consume("java-headers", 1, 1).get(0);
            List<String> names = new ArrayList<>();
            for (Header header : back.headers()) names.add(header.key() + (header.value() == null ? "-" : header.value().length));
            check(names.equals(List.of("origin7", "null-", "origin0")) && back.value() == null, names);
            return null;
        });
        step("timestamps", () -> {
            create("java-times", 1, Map.of());
            create("java-appended", 1, Map.of("message.timestamp.type", "LogAppendTime"));
            long before = System.currentTimeMillis() - 1;
            produce(List.of(at("java-times", 1_700_000_000_123L), at("java-appended", 1_700_000_000_123L)), "enable.idempotence", "false");
            check(consume("java-times", 1, 1).get(0).timestamp() == 1_700_000_000_123L, "another create time");
            check(consume("java-appended", 1, 1).get(0).timestamp() >= before, "no append time");
            return null;
        });
        step("big messages", () -> {
            create("java-big", 1, Map.of("max.message.bytes", "8000000"));
            byte[] big = new byte[5_000_000];
            new Random(1).nextBytes(big);
            var record = new ProducerRecord<byte[], byte[]>("java-big", big);
            produce(List.of(record, record), "max.request.size", "8000000", "enable.idempotence", "false");
            for (var back : consume("java-big", 2, 1, "max.partition.fetch.bytes", "1000")) check(Arrays.equals(back.value(), big), "other bytes");
            return null;
        });
        step("many partitions", () -> {
            create("java-many", 200, Map.of());
            List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
            for (int partition = 0; partition < 200; partition++) records.add(new ProducerRecord<>("java-many", partition, null, ("" + partition).getBytes()));
            produce(records, "enable.idempotence", "false");
            for (var back : consume("java-many", 200, 200)) check(new String(back.value()).equals("" + back.partition()), back);
            return null;
        });
        step("offsets", () -> {
            long first = offset("x-java-none", OffsetSpec.earliest()), last = offset("x-java-none", OffsetSpec.latest());
            check(first == 0 && last == COUNT, first + " to " + last);
            return null;
        });
        step("offset by time", () -> {
            create("java-by-time", 1, Map.of());
            produce(List.of(at("java-by-time", 1000), at("java-by-time", 2000), at("java-by-time", 3000)), "enable.idempotence", "false");
            List<Long> found = new ArrayList<>();
            for (long time : new long[] {0, 1001, 3001}) found.add(offset("java-by-time", OffsetSpec.forTimestamp(time)));
            found.add(offset("java-by-time", OffsetSpec.maxTimestamp()));
            check(found.equals(List.of(0L, 1L, -1L, 2L)), found);
            return null;
        });
        step("acks 0 and 1", () -> {
            create("java-acks", 1, Map.of());
            produce(values("java-acks", 10), "acks", "0", "enable.idempotence", "false");
            produce(values("java-acks", 10), "acks", "1", "enable.idempotence", "false");
            consume("java-acks", 20, 1);
            return null;
        });
        step("idempotent", () -> {
            create("java-idempotent", 1, Map.of());
            produce(values("java-idempotent", 2000), "enable.idempotence", "true");
            return same("java-idempotent", 2000);
        });
        step("configs", () -> {
            var topic = new ConfigResource(ConfigResource.Type.TOPIC, "java");
            var set = new AlterConfigOp(new ConfigEntry("retention.ms", "1000000"), AlterConfigOp.OpType.SET);
            admin.incrementalAlterConfigs(Map.of(topic, List.of(set))).all().get(30, TimeUnit.SECONDS);
            until(() -> admin.describeConfigs(List.of(topic)).all().get(30, TimeUnit.SECONDS).get(topic).get("retention.ms").value().equals("1000000"), "not set");
            var broker = new ConfigResource(ConfigResource.Type.BROKER, "1");
            String partitions = admin.describeConfigs(List.of(broker)).all().get(30, TimeUnit.SECONDS).get(broker).get("num.partitions").value();
            check(partitions.equals("1"), partitions);
            return null;
        });
        step("more partitions", () -> {
            admin.createPartitions(Map.of("java", NewPartitions.increaseTo(6))).all().get(30, TimeUnit.SECONDS);
            until(() -> partitions("java") == 6, "it has not six partitions");
            return null;
        });
        step("delete records", () -> {
            create("java-cut", 1, Map.of());
            produce(values("java-cut", COUNT), "enable.idempotence", "false");
            admin.deleteRecords(Map.of(new TopicPartition("java-cut", 0), RecordsToDelete.beforeOffset(20))).all().get(30, TimeUnit.SECONDS);
            check(offset("java-cut", OffsetSpec.earliest()) == 20, "another start");
            return null;
        });
        step("delete topic", () -> {
            admin.deleteTopics(List.of("java-cut")).all().get(30, TimeUnit.SECONDS);
            until(() -> !admin.listTopics().names().get(30, TimeUnit.SECONDS).contains("java-cut"), "it is still there");
            return null;
        });
        if (nodes > 1) step("leader killed", Interop::leaderKilled);
    }

    static Object leaderKilled() throws Exception {
        create("java-killed", 1, Map.of());
        Thread.sleep(500);
        int leader = admin.describeTopics(List.of("java-killed")).allTopicNames().get(30, TimeUnit.SECONDS).get("java-killed").partitions().get(0).leader().id();
        List<Future<RecordMetadata>> sent = Collections.synchronizedList(new ArrayList<>());
        try (var producer = producer("acks", "all", "linger.ms", "5", "enable.idempotence", "true")) {
            var going = new java.util.concurrent.atomic.AtomicBoolean(true);
            Thread load = new Thread(() -> {
                while (going.get()) {
                    sent.add(producer.send(new ProducerRecord<>("java-killed", ("" + sent.size()).getBytes())));
                    try { Thread.sleep(2); } catch (InterruptedException ended) { return; }
                }
            });
            load.start();
            Thread.sleep(1000);
            ask("kill", leader);
            Thread.sleep(6000);
            ask("start", leader);
            Thread.sleep(1000);
            going.set(false);
            load.join();
            for (var one : sent) one.get(120, TimeUnit.SECONDS);
        }
        Map<String, Integer> seen = new HashMap<>();
        for (var record : consume("java-killed", sent.size(), 1)) seen.merge(new String(record.value()), 1, Integer::sum);
        long doubled = seen.values().stream().filter(times -> times > 1).count();
        check(seen.size() == sent.size() && doubled == 0, seen.size() + " of " + sent.size() + " are there, " + doubled + " doubled");
        return sent.size() + " acknowledged";
    }
}
