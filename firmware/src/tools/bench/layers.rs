//! The cost of each layer of the network, compared with this machine's peak.

use std::fmt;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use serde::Serialize;
use shared::{NetworkError, TractNetwork, peak_f32_macs, peak_int8_macs};

/// Rounds of multiply-accumulates, and how often they are timed; a few milliseconds in total.
const BURST: (u32, u32) = (20_000, 50);

/// The cost of a tile. Layers are reported at their fastest, which excludes interference by other processes.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Layers {
    /// The instruction set of the kernels, or `tract`.
    kernels: String,
    /// Peak multiply-accumulates per second of all threads together, in billions.
    peak_gmac_per_s: f64,
    /// The same in int8.
    byte_peak_gmac_per_s: f64,
    /// The fastest tile from end to end.
    tile_ms: f64,
    /// Median CPU time per tile, all threads together.
    tile_cpu_ms: f64,
    layers: Vec<LayerCost>,
}

#[derive(Debug, Clone, Serialize)]
struct LayerCost {
    name: String,
    operator: String,
    ms: f64,
    gmac: f64,
    gmac_per_s: f64,
    /// Fraction of the peak, 0 to 1.
    peak_share: f64,
}

impl Layers {
    /// Runs a tile `runs` times, after one warm-up run.
    pub(super) fn measure(
        network: &mut TractNetwork,
        threads: NonZeroUsize,
        runs: NonZeroU32,
    ) -> Result<Self, NetworkError> {
        let layers = network.layers()?;
        let peak_gmac_per_s = peak_of_a_core(peak_f32_macs) * threads.get() as f64;
        let byte_peak_gmac_per_s = peak_of_a_core(peak_int8_macs) * threads.get() as f64;
        let values = 3 * network.tile() * network.tile();
        let tile_chw: Vec<f32> = (0..values).map(|index| (index % 251) as f32 / 250.0).collect();
        let mut fastest = vec![Duration::MAX; layers.len()];
        let (mut fastest_tile, mut cpu_times) = (Duration::MAX, Vec::new());
        for run in 0..=runs.get() {
            let (start, cpu_start) = (Instant::now(), cpu_time());
            let mut before = start;
            let mut times = Vec::with_capacity(layers.len());
            network.run_observed(&tile_chw, &mut |_| {
                let now = Instant::now();
                times.push(now - before);
                before = now;
            })?;
            if run > 0 {
                fastest_tile = fastest_tile.min(start.elapsed());
                cpu_times.push(cpu_time().saturating_sub(cpu_start));
                fastest.iter_mut().zip(times).for_each(|(fastest, time)| *fastest = time.min(*fastest));
            }
        }
        cpu_times.sort_unstable();
        let tile_cpu = cpu_times.get(cpu_times.len() / 2).copied().unwrap_or_default();
        let costs = layers.into_iter().zip(fastest).map(|(layer, time)| {
            let gmac = layer.macs as f64 / 1e9;
            let gmac_per_s = gmac / time.as_secs_f64().max(1e-9);
            let peak = if layer.in_integers { byte_peak_gmac_per_s } else { peak_gmac_per_s };
            LayerCost {
                name: layer.name,
                operator: layer.operator,
                ms: milliseconds(time),
                gmac,
                gmac_per_s,
                peak_share: gmac_per_s / peak,
            }
        });
        Ok(Self {
            kernels: network.kernels().to_owned(),
            peak_gmac_per_s,
            byte_peak_gmac_per_s,
            tile_ms: milliseconds(fastest_tile),
            tile_cpu_ms: milliseconds(tile_cpu),
            layers: costs.collect(),
        })
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// CPU time of this process so far; zero if the system does not report it.
fn cpu_time() -> Duration {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else { return Duration::ZERO };
    let microseconds = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Duration::from_micros(microseconds.unsigned_abs())
}

/// Peak multiply-accumulates per second of one core, in billions.
fn peak_of_a_core(burst_of: fn(u32) -> u64) -> f64 {
    let burst = || {
        let start = Instant::now();
        let macs = burst_of(BURST.0);
        macs as f64 / start.elapsed().as_secs_f64().max(1e-9)
    };
    (0..BURST.1).map(|_| burst()).fold(0.0, f64::max) / 1e9
}

impl fmt::Display for Layers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "fastest time per tile with {} kernels; peak {:.1} GMAC/s in floats, {:.1} in int8\n  \
                 {:<32}{:<20}{:>8}{:>9}{:>9}{:>7}",
            self.kernels,
            self.peak_gmac_per_s,
            self.byte_peak_gmac_per_s,
            "layer",
            "operator",
            "ms",
            "GMAC",
            "GMAC/s",
            "peak"
        )?;
        for LayerCost { name, operator, ms, gmac, gmac_per_s, peak_share } in &self.layers {
            let share = 100.0 * peak_share;
            writeln!(
                formatter,
                "  {name:<32}{operator:<20}{ms:>8.3}{gmac:>9.4}{gmac_per_s:>9.1}{share:>6.0}%"
            )?;
        }
        let sum = |value: fn(&LayerCost) -> f64| self.layers.iter().map(value).sum::<f64>();
        let (ms, gmac) = (sum(|layer| layer.ms), sum(|layer| layer.gmac));
        // Time at peak rate divided by the measured time.
        let share = 100.0 * sum(|layer| layer.ms * layer.peak_share) / ms.max(1e-6);
        let rate = gmac / ms.max(1e-6) * 1e3;
        writeln!(formatter, "  {:<32}{:<20}{ms:>8.3}{gmac:>9.4}{rate:>9.1}{share:>6.0}%", "sum", "")?;
        write!(
            formatter,
            "one tile end to end: {:.2} ms at its fastest; median {:.2} ms of CPU time",
            self.tile_ms, self.tile_cpu_ms
        )
    }
}
