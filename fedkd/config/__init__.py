"""The configuration of an experiment."""

from fedkd.config.describe import KeyDoc, describe_keys
from fedkd.config.load import PLUGIN_SECTIONS, load_config, parse_config, plugin_at, to_json, to_mapping
from fedkd.config.schema import (
    AttackersConfig,
    AuditOptions,
    ClientsConfig,
    Control,
    DataConfig,
    DistillationConfig,
    EngineConfig,
    ExchangeConfig,
    ExperimentConfig,
    GeometryConfig,
    PartitionConfig,
    Plugin,
    PrivacyConfig,
    PublicConfig,
    ResourceConfig,
    StudentConfig,
)

__all__ = [
    "PLUGIN_SECTIONS",
    "AttackersConfig",
    "AuditOptions",
    "ClientsConfig",
    "Control",
    "DataConfig",
    "DistillationConfig",
    "EngineConfig",
    "ExchangeConfig",
    "ExperimentConfig",
    "GeometryConfig",
    "KeyDoc",
    "PartitionConfig",
    "Plugin",
    "PrivacyConfig",
    "PublicConfig",
    "ResourceConfig",
    "StudentConfig",
    "describe_keys",
    "load_config",
    "parse_config",
    "plugin_at",
    "to_json",
    "to_mapping",
]
