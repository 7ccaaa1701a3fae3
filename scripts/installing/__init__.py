"""Trying fedkd in environments other than this one."""
