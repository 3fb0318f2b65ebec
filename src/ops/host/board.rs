//! Which board this is, and its sensors: temperature, supply, wear of the flash.

use std::path::Path;

use super::{Host, Root};
use crate::config::{Board, Sensors, UnderVoltage};

/// How the supply of the board is, and whether it slows down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Power {
    /// The voltage is too low now.
    pub is_low: bool,
    /// The board runs slower than it could, for heat or for want of voltage.
    pub is_throttled: bool,
}

/// Bits of what the firmware of a Raspberry Pi tells (its documentation of `get_throttled`): voltage too low; clock capped, throttled, or
/// held by heat.
const LOW_VOLTAGE: u32 = 0b1;
const THROTTLED: u32 = 0b1110;

/// Warmest that a sensor can mean, in thousandths: those that are not connected tell nonsense.
const WARMEST: u64 = 200_000;

/// The board that runs, by what its device tree and its firmware say.
pub(super) fn running(root: &Root) -> Option<Board> {
    let compatible = root.text("proc/device-tree/compatible").unwrap_or_default();
    let compatible: Vec<_> = compatible.split('\0').collect();
    let product = root.text("sys/class/dmi/id/product_name");
    Board::that_says(&compatible, product.as_deref().unwrap_or_default())
}

/// Of a board that is not known every sensor counts.
pub(super) fn sample(root: &Root, sensors: Option<&Sensors>, host: &mut Host) {
    let counts = |zone: &Path| match sensors {
        Some(Sensors { temperature, .. }) if !temperature.is_empty() => root
            .text(zone.join("type"))
            .is_some_and(|kind| temperature.contains(&kind)),
        _ => true,
    };
    let zones = root.entries("sys/class/thermal", "thermal_zone");
    let zones = zones
        .iter()
        .filter(|zone| counts(zone))
        .filter_map(|zone| root.number(zone.join("temp")));
    host.temperature = zones
        .filter(|milli| *milli < WARMEST)
        .max()
        .map(|milli| milli / 1_000);
    host.power = match sensors.map(|sensors| sensors.under_voltage) {
        None | Some(UnderVoltage::RpiVolt) => firmware(root).or_else(|| sensor(root)),
        Some(UnderVoltage::None) => None,
    };
    let disks = root.entries("sys/block", "mmcblk");
    let worn = disks.iter().filter_map(|disk| {
        let life = root.text(disk.join("device/life_time"));
        let end = root.text(disk.join("device/pre_eol_info"));
        wear(life.as_deref(), end.as_deref())
    });
    host.flash = worn.max();
}

fn firmware(root: &Root) -> Option<Power> {
    let text = root.text("sys/devices/platform/soc/soc:firmware/get_throttled")?;
    let bits = u32::from_str_radix(text.trim_start_matches("0x"), 16).ok()?;
    Some(Power {
        is_low: bits & LOW_VOLTAGE != 0,
        is_throttled: bits & THROTTLED != 0,
    })
}

fn sensor(root: &Root) -> Option<Power> {
    let sensors = root.entries("sys/class/hwmon", "hwmon");
    let mut sensors = sensors.iter();
    let sensor =
        sensors.find(|sensor| root.text(sensor.join("name")).as_deref() == Some("rpi_volt"))?;
    let alarm = root.number(sensor.join("in0_lcrit_alarm"))?;
    Some(Power {
        is_low: alarm != 0,
        is_throttled: false,
    })
}

/// Wear in percent, from the two bands of an eMMC (JEDEC JESD84-B51, `DEVICE_LIFE_TIME_EST_TYP_A`, `_B`): `0x03` is 20 to 30 percent,
/// `0x0b` more than all. `PRE_EOL_INFO` above 1: 80 or 90 percent of the spare blocks are used. 0 is not told.
fn wear(life: Option<&str>, end: Option<&str>) -> Option<u64> {
    let hex = |word: &str| u64::from_str_radix(word.trim_start_matches("0x"), 16).ok();
    let bands = life
        .into_iter()
        .flat_map(str::split_whitespace)
        .filter_map(hex);
    let bands = bands
        .filter(|band| (1..=11).contains(band))
        .map(|band| band * 10 - 10);
    let end = end.and_then(hex).filter(|stage| (2..=3).contains(stage));
    bands.chain(end.map(|stage| 60 + stage * 10)).max()
}
