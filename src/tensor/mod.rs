//! Tensors as the rest of the house sees them: an element type, a shape, and data on the host or in a device buffer.
//!
//! Not for file formats (`checkpoint`) and not for sums (`ops`). Start reading at [`Tensor`].

mod device;
mod dtype;
mod panel;

pub use device::Tensor;
pub use dtype::DType;
pub use panel::{PANEL_ROWS, PanelMatrix};
