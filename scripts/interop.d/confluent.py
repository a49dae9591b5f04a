"""confluent-kafka (librdkafka, the C client that most languages wrap). See scripts/interop."""

import time

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic, OffsetSpec, ResourceType,
)

from steps import BOOTSTRAP, CODECS, COUNT, REST, RF, ask, go, until, values

BASE = {"bootstrap.servers": BOOTSTRAP, "broker.address.family": "v4", "log_level": 3}
admin = AdminClient(BASE)


def wait(futures):
    return {key: future.result(30) for key, future in futures.items()}


def create(topic, partitions=1, config=None):
    wait(admin.create_topics([NewTopic(topic, partitions, RF, config=config or {})]))


def produce(topic, values, config=None, **options):
    failed = []
    producer = Producer({**BASE, "message.timeout.ms": 60000, **(config or {})})
    for value in values:
        while True:
            try:
                producer.produce(topic, value, on_delivery=lambda error, _: error and failed.append(error), **options)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    left = producer.flush(90)
    assert not failed and not left, f"{failed[:1]}, {left} left"


def consume(topic, count, partitions=(0,), config=None, seconds=60):
    consumer = Consumer({**BASE, "group.id": "none", "enable.auto.commit": False, **(config or {})})
    consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
    messages, end = [], time.monotonic() + seconds
    while len(messages) < count and time.monotonic() < end:
        for message in consumer.consume(500, 0.5):
            if message.error():
                raise KafkaException(message.error())
            messages.append(message)
    consumer.close()
    assert len(messages) >= count, f"{len(messages)} of {count} came"
    return messages


def there_and_back(topic, config=None, count=COUNT):
    produce(topic, values(topic, count), config)
    back = [message.value() for message in consume(topic, count)]
    assert back == values(topic, count), f"other values came back, {back[0]} first"


def metadata():
    brokers = admin.list_topics(timeout=30).brokers
    assert len(brokers) == int(REST), f"{len(brokers)} brokers"
    cluster = admin.describe_cluster().result(30)
    assert len(cluster.nodes) == int(REST)


def topics():
    for codec in CODECS:
        create(f"x-confluent-{codec}")
    create("confluent", 3)
    until(lambda: len(admin.list_topics("confluent", timeout=30).topics["confluent"].partitions) == 3)


def headers():
    create("confluent-headers")
    pairs = [("origin", b"interop"), ("empty", b""), ("null", None), ("origin", b"twice")]
    produce("confluent-headers", [b"v", None], key="k", headers=pairs)
    first, second = consume("confluent-headers", 2)
    assert first.headers() == pairs and first.key() == b"k", f"{first.headers()}"
    assert second.value() is None, "a null value came back as another"


def timestamps():
    create("confluent-times")
    produce("confluent-times", [b"then"], timestamp=1_700_000_000_123)
    (message,) = consume("confluent-times", 1)
    assert message.timestamp() == (1, 1_700_000_000_123), f"{message.timestamp()}"
    create("confluent-appended", config={"message.timestamp.type": "LogAppendTime"})
    before = int(time.time() * 1000) - 1
    produce("confluent-appended", [b"now"], timestamp=1_700_000_000_123)
    (message,) = consume("confluent-appended", 1)
    kind, at = message.timestamp()
    assert kind == 2 and before <= at <= time.time() * 1000 + 1, f"{message.timestamp()}"


def big():
    create("confluent-big", config={"max.message.bytes": "8000000"})
    payload = bytes(range(256)) * 20_000
    produce("confluent-big", [payload] * 3, {"message.max.bytes": 8_000_000})
    back = consume("confluent-big", 3, config={"fetch.max.bytes": 9_000_000, "message.max.bytes": 9_000_000})
    assert all(message.value() == payload for message in back)
    create("confluent-small")
    try:
        produce("confluent-small", [payload], {"message.max.bytes": 8_000_000, "message.timeout.ms": 10000})
    except AssertionError as error:
        assert "MSG_SIZE_TOO_LARGE" in str(error), str(error)
    else:
        raise AssertionError("5 MB were taken where 1 MB is the limit")


def many():
    create("confluent-many", 200)
    producer = Producer({**BASE, "message.timeout.ms": 60000})
    for partition in range(200):
        producer.produce("confluent-many", str(partition), partition=partition)
    assert producer.flush(60) == 0
    back = consume("confluent-many", 200, range(200))
    assert all(int(message.value()) == message.partition() for message in back)


def offsets():
    partition = TopicPartition("x-confluent-none", 0)
    ends = [wait(admin.list_offsets({partition: spec}))[partition].offset for spec in (OffsetSpec.earliest(), OffsetSpec.latest())]
    assert ends == [0, COUNT], f"{ends}"


def by_time():
    create("confluent-by-time")
    for at in (1_000, 2_000, 3_000):
        produce("confluent-by-time", [b"v"], timestamp=at)
    partition = TopicPartition("confluent-by-time", 0)
    found = [wait(admin.list_offsets({partition: OffsetSpec.for_timestamp(at)}))[partition].offset for at in (0, 1_001, 3_001)]
    assert found == [0, 1, -1], f"{found}"
    assert wait(admin.list_offsets({partition: OffsetSpec.max_timestamp()}))[partition].offset == 2


def acks():
    create("confluent-acks")
    produce("confluent-acks", [b"none"] * 10, {"acks": 0})
    produce("confluent-acks", [b"one"] * 10, {"acks": 1})
    consume("confluent-acks", 20)


def idempotent():
    create("confluent-idempotent")
    there_and_back("confluent-idempotent", {"enable.idempotence": True}, 2_000)


def configs():
    topic = ConfigResource(ResourceType.TOPIC, "confluent")
    change = ConfigEntry("retention.ms", "1000000", incremental_operation=AlterConfigOpType.SET)
    wait(admin.incremental_alter_configs([ConfigResource(ResourceType.TOPIC, "confluent", incremental_configs=[change])]))
    until(lambda: wait(admin.describe_configs([topic]))[topic]["retention.ms"].value == "1000000")
    found = wait(admin.describe_configs([topic]))[topic]
    assert found["retention.ms"].source == 1, f"{found['retention.ms']}"
    assert found["segment.bytes"].value == "1073741824" and len(found) == 33, f"{len(found)} configs"
    broker = ConfigResource(ResourceType.BROKER, "1")
    assert wait(admin.describe_configs([broker]))[broker]["num.partitions"].value == "1"


def more_partitions():
    wait(admin.create_partitions([NewPartitions("confluent", 6)]))
    until(lambda: len(admin.list_topics("confluent", timeout=30).topics["confluent"].partitions) == 6)


def delete_records():
    create("confluent-cut")
    produce("confluent-cut", values("confluent-cut"))
    partition = TopicPartition("confluent-cut", 0, 20)
    wait(admin.delete_records([partition]))
    start = wait(admin.list_offsets({TopicPartition("confluent-cut", 0): OffsetSpec.earliest()}))
    assert next(iter(start.values())).offset == 20


def delete_topic():
    wait(admin.delete_topics(["confluent-cut"]))
    until(lambda: "confluent-cut" not in admin.list_topics(timeout=30).topics)


def leader_killed():
    create("confluent-killed")
    until(lambda: admin.list_topics("confluent-killed", timeout=30).topics["confluent-killed"].partitions)
    leader = admin.list_topics("confluent-killed", timeout=30).topics["confluent-killed"].partitions[0].leader
    acknowledged, failed, sent = [], [], 0
    producer = Producer({**BASE, "acks": "all", "linger.ms": 5, "enable.idempotence": True, "message.timeout.ms": 120000})

    def load(seconds):
        nonlocal sent
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            number = sent
            producer.produce(
                "confluent-killed", str(number),
                on_delivery=lambda error, _, number=number: failed.append(error) if error else acknowledged.append(number),
            )
            sent += 1
            producer.poll(0.002)

    load(1)
    ask("kill", leader)
    load(6)
    ask("start", leader)
    load(1)
    left = producer.flush(130)
    assert not failed and not left, f"{failed[:1]}, {left} left"
    seen = [int(message.value()) for message in consume("confluent-killed", len(set(acknowledged)))]
    lost = set(acknowledged) - set(seen)
    assert not lost, f"{len(lost)} lost of {len(acknowledged)}"
    doubled = len(seen) - len(set(seen))
    assert not doubled, f"{doubled} doubled"
    return f"{len(acknowledged)} acknowledged, {doubled} doubled"


def read(writer):
    for codec in CODECS:
        topic = f"x-{writer}-{codec}"
        back = [message.value() for message in consume(topic, COUNT)]
        assert back == values(topic), f"{topic}: {back[0]} first"


def compressed(topic, codec):
    there_and_back(topic, {"compression.type": codec})


go("confluent", globals())
