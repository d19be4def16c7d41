"""Settings of the embedded broker, each with its reason, and of its log."""

from collections.abc import Mapping
from pathlib import Path

from cli.ports import HOST


def server_properties(port: int, controller_port: int, folder: Path) -> dict[str, str]:
    """`server.properties` for one node on the loopback address, with its data in `folder`."""
    listeners = f"PLAINTEXT://{HOST}:{port},CONTROLLER://{HOST}:{controller_port}"
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.bootstrap.servers": f"{HOST}:{controller_port}",
        "listeners": listeners,
        "advertised.listeners": listeners,
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": str(folder),
        **_FOR_SPEED,
        **_FOR_ONE_NODE,
        **_FOR_LITTLE_MEMORY,
    }


_FOR_SPEED = {
    # Offset commits wait this long for company: 6.3 ms each with the default, 1 ms with 0.
    "group.coordinator.append.linger.ms": "0",
    # Consumers start at once instead of waiting for others to join.
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    # After SIGKILL the old session must expire before the node may register again: 6 s instead of 12.
    "broker.session.timeout.ms": "2000",
    "broker.heartbeat.interval.ms": "400",
}

_FOR_ONE_NODE = {
    # Topics come from the catalogue; a misspelt name must fail and not appear.
    "auto.create.topics.enable": "false",
    "default.replication.factor": "1",
    "min.insync.replicas": "1",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "2",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
}

_FOR_LITTLE_MEMORY = {
    "num.network.threads": "2",
    "num.io.threads": "4",
    "background.threads": "4",
    "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),
    # Each partition reserves its indexes in advance; 1 MB is enough for segments of 256 MB.
    "log.segment.bytes": str(256 * 1024 * 1024),
    "log.index.size.max.bytes": str(1024 * 1024),
}


def render(settings: Mapping[str, str]) -> str:
    """The text of a Java properties file."""
    return "".join(f"{name}={value.replace(chr(92), chr(92) * 2)}\n" for name, value in settings.items())


LOGGING = """\
status = error
appender.file.type = RollingFile
appender.file.name = file
appender.file.fileName = ${sys:iacrm.log}
appender.file.filePattern = ${sys:iacrm.log}.%i
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d{ISO8601} %-5p %c{1}: %m%n
appender.file.policies.type = Policies
appender.file.policies.size.type = SizeBasedTriggeringPolicy
appender.file.policies.size.size = 20MB
appender.file.strategy.type = DefaultRolloverStrategy
appender.file.strategy.max = 3
rootLogger.level = INFO
rootLogger.appenderRef.file.ref = file
logger.snapshot.name = org.apache.kafka.storage.internals.log
logger.snapshot.level = WARN
logger.controller.name = org.apache.kafka.controller
logger.controller.level = WARN
logger.config.name = org.apache.kafka.common.config
logger.config.level = WARN
"""
