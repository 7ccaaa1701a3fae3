"""The files that belong to an experiment, and what fixes their content in its configuration."""

from dataclasses import replace

from fedkd.config.schema import ExperimentConfig
from fedkd.core.given_files import digest_of_content, given_path, read_given

INIT = "student.init"
TEACHER_INIT = "teacher.init"
INIT_BYTES = 2**32
INIT_REMEDY = "name a file that torch.save(model.state_dict(), FILE) wrote"

PARTITION = "data.partition.path"
PARTITION_BYTES = 2**28
PARTITION_REMEDY = 'name a file of JSON, {"clients": [[positions], ...]}, or of class counts'

TASKS = "data.tasks.path"
TASKS_BYTES = 2**28
TASKS_REMEDY = 'name a file of JSON, {"train": [numbers], "test": [numbers]}'


def pinned(config: ExperimentConfig) -> ExperimentConfig:
    """The configuration with the whole path and the SHA-256 of every file that it names.

    So that processes elsewhere find the same content or say that they do not, and a run that is resumed is one with the
    same files. Raises ``ConfigError`` when one without a digest cannot be read; whoever uses a file compares its
    content with the digest.
    """
    student, rule, tasks = config.student, config.data.partition, config.data.tasks
    if rule.path is not None:
        path, digest = _pinned(PARTITION, rule.path, PARTITION_BYTES, PARTITION_REMEDY, rule.sha256)
        config = replace(config, data=replace(config.data, partition=replace(rule, path=path, sha256=digest)))
    if tasks is not None and tasks.path is not None:
        path, digest = _pinned(TASKS, tasks.path, TASKS_BYTES, TASKS_REMEDY, tasks.sha256)
        config = replace(config, data=replace(config.data, tasks=replace(tasks, path=path, sha256=digest)))
    if student.init is not None:
        path, digest = _pinned(INIT, student.init, INIT_BYTES, INIT_REMEDY, student.init_sha256)
        config = replace(config, student=replace(student, init=path, init_sha256=digest))
    if (teacher := config.teacher) is not None and teacher.init is not None:
        path, digest = _pinned(TEACHER_INIT, teacher.init, INIT_BYTES, INIT_REMEDY, teacher.init_sha256)
        config = replace(config, teacher=replace(teacher, init=path, init_sha256=digest))
    return config


def _pinned(key: str, named: str, most_bytes: int, remedy: str, digest: str | None) -> tuple[str, str]:
    path = given_path(key, named)
    return str(path), digest or digest_of_content(read_given(key, named, most_bytes=most_bytes, remedy=remedy))
