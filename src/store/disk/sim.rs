//! A file system in memory that fails on purpose, from a seed.
