//! Metres in town to degrees on the globe.

/// The corner of a town that does not exist: open water in the middle of the Atlantic.
const ORIGIN: (f64, f64) = (46.500_000, -28.000_000);
const METRES_EACH_DEGREE: f64 = 111_320.0;

/// A flat map around [`ORIGIN`]; x to the east, y to the north. A town is small enough for that.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Geography {
    metres_each_degree_of_longitude: f64,
}

impl Geography {
    pub(crate) fn new() -> Self {
        Self { metres_each_degree_of_longitude: METRES_EACH_DEGREE * ORIGIN.0.to_radians().cos() }
    }

    /// Latitude and longitude.
    pub(crate) fn degrees(self, x: f64, y: f64) -> (f64, f64) {
        (ORIGIN.0 + y / METRES_EACH_DEGREE, ORIGIN.1 + x / self.metres_each_degree_of_longitude)
    }

    #[cfg(test)]
    pub(crate) fn metres(self, latitude: f64, longitude: f64) -> (f64, f64) {
        ((longitude - ORIGIN.1) * self.metres_each_degree_of_longitude, (latitude - ORIGIN.0) * METRES_EACH_DEGREE)
    }
}
