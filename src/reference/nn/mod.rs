//! Twins of shaders/nn.
