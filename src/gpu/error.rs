//! What can go wrong on a device through no fault of ours.

/// Errors of adapters, devices, buffers and submissions.
#[derive(Debug, thiserror::Error)]
pub enum GpuError {
    /// `--adapter` names nothing that exists.
    #[error("no adapter matches `{wanted}`; available: {available}. Pass one of these names, its index, or `cpu`")]
    NoSuchAdapter {
        /// What was asked for.
        wanted: String,
        /// Names of the adapters found.
        available: String,
    },
    /// The driver refused to open the adapter.
    #[error("adapter `{adapter}` could not be opened: {message}. Try another one with `adapter`, or `adapter` cpu")]
    OpenDevice {
        /// Adapter name.
        adapter: String,
        /// The driver's words.
        message: String,
    },
    /// `SECATEUR_TUNE` is none of its values.
    #[error("SECATEUR_TUNE is `{value}`; use off, load or full")]
    TuneMode {
        /// What it is.
        value: String,
    },
    /// `SECATEUR_COOP` is none of its values.
    #[error("SECATEUR_COOP is `{value}`; use auto or off")]
    CoopMode {
        /// What it is.
        value: String,
    },
    /// A buffer is larger than the device allows at all.
    #[error(
        "buffer `{label}` needs {bytes} bytes, but `{adapter}` allows {limit} per buffer; use fewer or shorter calibration samples, or `adapter` cpu"
    )]
    BufferTooLarge {
        /// Buffer label.
        label: String,
        /// Size asked for.
        bytes: u64,
        /// Largest buffer of the device.
        limit: u64,
        /// Adapter name.
        adapter: String,
    },
    /// A binding is larger than the device allows.
    #[error("binding of `{label}` in `{kernel}` spans {bytes} bytes, but this device binds at most {limit}")]
    BindingTooLarge {
        /// Buffer label.
        label: String,
        /// Kernel stem.
        kernel: String,
        /// Size of the binding.
        bytes: u64,
        /// Largest storage binding of the device.
        limit: u64,
    },
    /// The budget for buffers is spent.
    #[error(
        "`{label}` needs {bytes} bytes of device memory, but {in_use} of the {budget} allowed are in use; raise `max-vram`, or halve the activations with half the `length`"
    )]
    OverBudget {
        /// Buffer label.
        label: String,
        /// Size asked for.
        bytes: u64,
        /// Bytes that other buffers hold.
        in_use: u64,
        /// Bytes allowed.
        budget: u64,
    },
    /// The device has no memory left.
    #[error(
        "out of device memory while allocating `{label}` ({bytes} bytes): {message}. Use shorter samples or `adapter` cpu"
    )]
    OutOfMemory {
        /// Buffer label.
        label: String,
        /// Size asked for.
        bytes: u64,
        /// The driver's words.
        message: String,
    },
    /// wgpu rejected something we built: a bug of ours or of the driver.
    #[error("the device rejected `{what}`: {message}")]
    Validation {
        /// Buffer label, kernel stem or submission.
        what: String,
        /// wgpu's words.
        message: String,
    },
    /// The device went away (driver reset, unplugged, watchdog).
    #[error(
        "device `{adapter}` was lost: {message}. Nothing half-done was kept; run again, or choose another `adapter`"
    )]
    DeviceLost {
        /// Adapter name.
        adapter: String,
        /// The driver's reason.
        message: String,
    },
    /// A shader import is unknown or circular.
    #[error("shader `{stem}`: {message}")]
    Shader {
        /// Kernel stem.
        stem: String,
        /// What is wrong with the text.
        message: String,
    },
    /// The debug switch found a kernel whose outputs differ from its twin's.
    #[error(
        "command {index} (`{kernel}`, binding {binding}) differs from its host twin: relative error {error:.3e} at element {element} (device {device}, host {host})"
    )]
    TwinMismatch {
        /// Position in the recording.
        index: usize,
        /// Kernel stem.
        kernel: String,
        /// Output binding.
        binding: usize,
        /// Normalised error over the whole output.
        error: f64,
        /// Worst element.
        element: usize,
        /// Its value on the device.
        device: f32,
        /// Its value on the host.
        host: f32,
    },
}
