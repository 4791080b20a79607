//! Twins of shaders/prox.
