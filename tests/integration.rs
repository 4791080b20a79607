//! One binary for all tests of the library: each folder is one room.

mod calib;
mod checkpoint;
