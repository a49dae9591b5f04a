"""kafka-python (an implementation of its own in Python). See scripts/interop."""

import time

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient, NewPartitions, NewTopic

from steps import BOOTSTRAP, CODECS, COUNT, REST, RF, ask, go, until, values

SERVERS = BOOTSTRAP.split(",")
admin = KafkaAdminClient(bootstrap_servers=SERVERS, request_timeout_ms=30_000)


def create(topic, partitions=1, config=None):
    admin.create_topics([NewTopic(topic, partitions, RF, topic_configs=config or {})], timeout_ms=30_000)


def produce(topic, values, key=None, headers=None, at=None, **config):
    producer = KafkaProducer(**{"bootstrap_servers": SERVERS, "retries": 20, "enable_idempotence": False, **config})
    sent = [producer.send(topic, value=value, key=key, headers=headers, timestamp_ms=at) for value in values]
    producer.flush(60)
    for future in sent:
        future.get(60)
    producer.close()


def consume(topic, count, partitions=(0,), seconds=60, **config):
    consumer = KafkaConsumer(bootstrap_servers=SERVERS, auto_offset_reset="earliest", enable_auto_commit=False, **config)
    consumer.assign([TopicPartition(topic, partition) for partition in partitions])
    messages, end = [], time.monotonic() + seconds
    while len(messages) < count and time.monotonic() < end:
        for batch in consumer.poll(500).values():
            messages.extend(batch)
    consumer.close()
    assert len(messages) >= count, f"{len(messages)} of {count} came"
    return messages


def there_and_back(topic, **config):
    produce(topic, values(topic), **config)
    back = [message.value for message in consume(topic, COUNT)]
    assert back == values(topic), f"other values came back, {back[0]} first"


def metadata():
    cluster = admin.describe_cluster()
    assert len(cluster["brokers"]) == int(REST), f"{cluster}"


def topics():
    for codec in CODECS:
        create(f"x-kafka-python-{codec}")
    create("kafka-python", 3)
    until(lambda: len(admin.describe_topics(["kafka-python"])[0]["partitions"]) == 3)


def headers():
    create("kafka-python-headers")
    pairs = [("origin", b"interop"), ("empty", b""), ("origin", b"twice")]
    produce("kafka-python-headers", [b"v", None], key=b"k", headers=pairs)
    first, second = consume("kafka-python-headers", 2)
    assert [tuple(pair) for pair in first.headers] == pairs and first.key == b"k", f"{first.headers}"
    assert second.value is None, "a null value came back as another"


def timestamps():
    create("kafka-python-times")
    produce("kafka-python-times", [b"then"], at=1_700_000_000_123)
    (message,) = consume("kafka-python-times", 1)
    assert (message.timestamp_type, message.timestamp) == (0, 1_700_000_000_123), f"{message}"
    create("kafka-python-appended", config={"message.timestamp.type": "LogAppendTime"})
    before = int(time.time() * 1000) - 1
    produce("kafka-python-appended", [b"now"], at=1_700_000_000_123)
    (message,) = consume("kafka-python-appended", 1)
    assert message.timestamp_type == 1 and message.timestamp >= before, f"{message}"


def big():
    create("kafka-python-big", config={"max.message.bytes": "8000000"})
    payload = bytes(range(256)) * 20_000
    produce("kafka-python-big", [payload] * 3, max_request_size=8_000_000)
    back = consume("kafka-python-big", 3, max_partition_fetch_bytes=1_000)
    assert all(message.value == payload for message in back)


def many():
    create("kafka-python-many", 200)
    producer = KafkaProducer(bootstrap_servers=SERVERS, enable_idempotence=False, retries=20)
    for partition in range(200):
        producer.send("kafka-python-many", str(partition).encode(), partition=partition)
    producer.flush(60)
    producer.close()
    back = consume("kafka-python-many", 200, range(200))
    assert all(int(message.value) == message.partition for message in back)


def ends(topic, at=None):
    consumer = KafkaConsumer(bootstrap_servers=SERVERS)
    partition = TopicPartition(topic, 0)
    if at is not None:
        found = consumer.offsets_for_times({partition: at})[partition]
        result = found and found.offset
    else:
        result = [consumer.beginning_offsets([partition])[partition], consumer.end_offsets([partition])[partition]]
    consumer.close()
    return result


def offsets():
    assert ends("x-kafka-python-none") == [0, COUNT], f"{ends('x-kafka-python-none')}"


def by_time():
    create("kafka-python-by-time")
    for at in (1_000, 2_000, 3_000):
        produce("kafka-python-by-time", [b"v"], at=at)
    found = [ends("kafka-python-by-time", at) for at in (0, 1_001, 3_001)]
    assert found == [0, 1, None], f"{found}"


def acks():
    create("kafka-python-acks")
    produce("kafka-python-acks", [b"none"] * 10, acks=0, retries=0)
    produce("kafka-python-acks", [b"one"] * 10, acks=1)
    consume("kafka-python-acks", 20)


def idempotent():
    create("kafka-python-idempotent")
    there_and_back("kafka-python-idempotent", enable_idempotence=True, acks="all")


def configs():
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, "kafka-python", configs={"retention.ms": "1000000"})])
    topic = ConfigResource(ConfigResourceType.TOPIC, "kafka-python")
    until(lambda: "1000000" in str(admin.describe_configs([topic])))


def more_partitions():
    admin.create_partitions({"kafka-python": NewPartitions(6)})
    until(lambda: len(admin.describe_topics(["kafka-python"])[0]["partitions"]) == 6)


def delete_records():
    create("kafka-python-cut")
    produce("kafka-python-cut", values("kafka-python-cut"))
    admin.delete_records({TopicPartition("kafka-python-cut", 0): 20})
    assert ends("kafka-python-cut") == [20, COUNT], f"{ends('kafka-python-cut')}"


def delete_topic():
    admin.delete_topics(["kafka-python-cut"])
    until(lambda: "kafka-python-cut" not in admin.list_topics())


def leader_killed():
    create("kafka-python-killed")
    until(lambda: admin.describe_topics(["kafka-python-killed"])[0]["partitions"])
    partition = admin.describe_topics(["kafka-python-killed"])[0]["partitions"][0]
    leader = partition.get("leader_id", partition.get("leader"))
    producer = KafkaProducer(bootstrap_servers=SERVERS, acks="all", enable_idempotence=True, retries=1_000, delivery_timeout_ms=120_000)
    sent = []

    def load(seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            sent.append(producer.send("kafka-python-killed", str(len(sent)).encode()))
            time.sleep(0.005)

    load(1)
    ask("kill", leader)
    load(6)
    ask("start", leader)
    load(1)
    producer.flush(120)
    for future in sent:
        future.get(1)
    producer.close()
    seen = [int(message.value) for message in consume("kafka-python-killed", len(sent))]
    lost = set(range(len(sent))) - set(seen)
    assert not lost, f"{len(lost)} lost of {len(sent)}"
    doubled = len(seen) - len(set(seen))
    assert not doubled, f"{doubled} doubled"
    return f"{len(sent)} acknowledged"


def read(writer):
    for codec in CODECS:
        topic = f"x-{writer}-{codec}"
        back = [message.value for message in consume(topic, COUNT)]
        assert back == values(topic), f"{topic}: {back[0]} first"


def compressed(topic, codec):
    there_and_back(topic, compression_type=codec)


go("kafka-python", globals())
