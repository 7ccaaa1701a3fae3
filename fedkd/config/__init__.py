"""The configuration of an experiment."""

from fedkd.config.data_schema import CorruptionConfig, DataConfig, PartitionConfig, PublicConfig
from fedkd.config.describe import KeyDoc, describe_keys
from fedkd.config.load import load_config, parse_config, to_json, to_mapping
from fedkd.config.plugin_sections import PLUGIN_SECTIONS, plugin_at
from fedkd.config.schema import (
    AttackersConfig,
    AuditConfig,
    ClientsConfig,
    CommunicationConfig,
    Control,
    DistillationConfig,
    EngineConfig,
    ExperimentConfig,
    GeometryConfig,
    PrivacyConfig,
    ResourceConfig,
    SecureAggregationConfig,
    StudentConfig,
)
from fedkd.config.sweep import Cell, CellFaults, Grid, cells_of, parse_grid, parse_seeds, value_text
from fedkd.config.values import Plugin

__all__ = [
    "PLUGIN_SECTIONS",
    "AttackersConfig",
    "AuditConfig",
    "Cell",
    "CellFaults",
    "ClientsConfig",
    "Control",
    "CorruptionConfig",
    "DataConfig",
    "DistillationConfig",
    "EngineConfig",
    "CommunicationConfig",
    "ExperimentConfig",
    "GeometryConfig",
    "Grid",
    "KeyDoc",
    "PartitionConfig",
    "Plugin",
    "PrivacyConfig",
    "PublicConfig",
    "ResourceConfig",
    "SecureAggregationConfig",
    "StudentConfig",
    "cells_of",
    "describe_keys",
    "load_config",
    "parse_config",
    "parse_grid",
    "parse_seeds",
    "plugin_at",
    "to_json",
    "to_mapping",
    "value_text",
]
