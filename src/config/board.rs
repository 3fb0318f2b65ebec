//! Boards: one file each in `board/`, embedded. What a board is cannot be asked of it, so it is written down: which sensors count, what
//! memory there is for the service, how it starts. Which board runs is told by its device tree, or by the section `[board]`.

use serde::Deserialize;

use super::problems::Section;

/// The files, by the names that the configuration and `image/build` use.
const FILES: &[(&str, &str)] = &[
    (
        "beaglebone-black",
        include_str!("../../board/beaglebone-black.toml"),
    ),
    ("qemu-virt", include_str!("../../board/qemu-virt.toml")),
    (
        "raspberry-pi-4",
        include_str!("../../board/raspberry-pi-4.toml"),
    ),
    (
        "raspberry-pi-5",
        include_str!("../../board/raspberry-pi-5.toml"),
    ),
    (
        "raspberry-pi-cm4",
        include_str!("../../board/raspberry-pi-cm4.toml"),
    ),
    (
        "raspberry-pi-cm5",
        include_str!("../../board/raspberry-pi-cm5.toml"),
    ),
    ("rock-4", include_str!("../../board/rock-4.toml")),
    ("rock-5", include_str!("../../board/rock-5.toml")),
    ("uefi-arm64", include_str!("../../board/uefi-arm64.toml")),
];

/// A board, as its file describes it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Board {
    /// What people call it.
    pub title: String,
    /// Debian's name of its architecture.
    pub architecture: Architecture,
    /// Strings of its device tree (`compatible`), any of which tells it.
    pub compatible: Vec<String>,
    /// Names of the product in the tables of its firmware, any of which tells it.
    pub products: Vec<String>,
    /// When somebody ran the image on it: a date, or "never".
    pub hardware_tried: String,
    /// Whether there is an image for it.
    pub image: bool,
    /// What there is to know before one buys it.
    pub remark: String,
    /// Its network port.
    pub ethernet: String,
    /// The disk that it starts from.
    pub storage: String,
    /// A light, below `/sys/class/leds`; empty for none.
    pub led: String,
    /// The device of its watchdog.
    pub watchdog: String,
    /// How it starts.
    pub boot: Boot,
    /// Which sensors count.
    pub sensors: Sensors,
    /// What memory there is.
    pub memory: BoardMemory,
    /// What follows from it.
    pub limits: BoardLimits,
}

/// Processors that there are boards with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// 64 bits.
    Arm64,
    /// 32 bits, with floating point.
    Armhf,
}

/// How a board starts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Boot {
    /// Who loads the kernel.
    pub method: BootMethod,
    /// Its file in the kernel's package; empty where the firmware has one.
    pub device_tree: String,
    /// The serial console beside the screen.
    pub console: String,
    /// What stands before the partitions.
    #[serde(default)]
    pub loader: Vec<Loader>,
}

/// Who loads the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BootMethod {
    /// UEFI firmware, and systemd-boot, which counts the tries of a slot.
    Uefi,
    /// The firmware of a Raspberry Pi, which tries another configuration once when it is asked to.
    Raspberry,
    /// U-Boot.
    UBoot,
}

/// One file of a boot loader.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Loader {
    /// Its name in the loader's package.
    pub file: String,
    /// Where it stands on the disk, in sectors of 512 bytes.
    pub sector: u32,
}

/// Which sensors of a board count.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Sensors {
    /// Types of thermal zones; none: all.
    pub temperature: Vec<String>,
    /// What tells that the voltage is too low.
    pub under_voltage: UnderVoltage,
}

/// What tells that the voltage is too low.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum UnderVoltage {
    /// The firmware of a Raspberry Pi, by its file or its sensor.
    #[serde(rename = "rpi_volt")]
    RpiVolt,
    /// Nothing does.
    #[serde(rename = "none")]
    None,
}

/// Memory of a board, MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct BoardMemory {
    /// Of the smallest model.
    pub board_mib: u64,
    /// What the service may take before it is held back.
    pub service_high_mib: u64,
    /// What it may take at all.
    pub service_max_mib: u64,
}

/// What follows from a board's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct BoardLimits {
    /// Connections at once, whatever `listen.connections-max` says beyond.
    pub connections_max: usize,
}

impl Board {
    /// The names of all boards.
    pub fn names() -> impl Iterator<Item = &'static str> {
        FILES.iter().map(|(name, _)| *name)
    }

    /// The board of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let (_, text) = FILES.iter().find(|(other, _)| *other == name)?;
        // A file that does not read fails the tests.
        toml::from_str(text).ok()
    }

    /// The board that says this of itself: the strings of its device tree, the most exact first, and the name of the product in its
    /// firmware.
    #[must_use]
    pub fn that_says(compatible: &[&str], product: &str) -> Option<Self> {
        let boards: Vec<_> = Self::names().filter_map(Self::named).collect();
        let is_told = |says: &[String], text: &str| says.iter().any(|one| one == text);
        let by_tree = compatible.iter().find_map(|text| {
            let mut boards = boards.iter();
            boards.find(|board| is_told(&board.compatible, text))
        });
        let by_product = || {
            let mut boards = boards.iter();
            boards.find(|board| is_told(&board.products, product))
        };
        by_tree.or_else(by_product).cloned()
    }
}

/// Section `[board]`: the board that is named there, if one is.
pub(super) fn read(mut section: Section<'_>) -> Option<Box<Board>> {
    let name = section.text("name");
    if name.is_empty() {
        return None;
    }
    let board = Board::named(&name);
    if board.is_none() {
        let names: Vec<_> = Board::names().collect();
        section.fault(
            "name",
            format!("\"{name}\" is none of the boards {}", names.join(", ")),
        );
    }
    board.map(Box::new)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::limits::MEMORY_BUDGET_BYTES;

    #[test]
    fn every_file_of_the_folder_is_embedded_and_reads() {
        let mut files: Vec<_> = fs::read_dir("board")
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        let names: Vec<_> = Board::names().map(|name| format!("{name}.toml")).collect();
        assert_eq!(files, names);
        for (name, text) in FILES {
            let board: Result<Board, _> = toml::from_str(text);
            assert!(board.is_ok(), "{name}: {}", board.unwrap_err());
        }
    }

    #[test]
    fn a_board_leaves_memory_for_the_system_and_says_when_it_was_tried() {
        for name in Board::names() {
            let board = Board::named(name).unwrap();
            let BoardMemory {
                board_mib,
                service_high_mib,
                service_max_mib,
            } = board.memory;
            assert!(
                service_high_mib < service_max_mib && service_max_mib + 128 <= board_mib,
                "{name}"
            );
            assert!(
                service_high_mib << 20 <= u64::try_from(MEMORY_BUDGET_BYTES).unwrap(),
                "{name}"
            );
            let is_date = |text: &str| {
                let mut parts = text
                    .split('-')
                    .map(|part| (part.len(), part.parse::<u16>()));
                let lengths: Vec<_> = parts.by_ref().map(|(length, _)| length).collect();
                lengths == [4, 2, 2] && text.split('-').all(|part| part.parse::<u16>().is_ok())
            };
            let tried = &board.hardware_tried;
            assert!(tried == "never" || is_date(tried), "{name}: {tried}");
        }
    }

    #[test]
    fn a_board_is_known_by_its_device_tree_or_by_its_product() {
        let known = |compatible: &[&str], product: &str| {
            Board::that_says(compatible, product).map(|board| board.title)
        };
        assert_eq!(
            known(&["raspberrypi,4-model-b", "brcm,bcm2711"], ""),
            Some("Raspberry Pi 4".to_owned())
        );
        assert_eq!(
            known(&["ti,am335x-bone-green", "ti,am335x-bone"], ""),
            Some("Beaglebone Black".to_owned())
        );
        assert_eq!(
            known(&[], "QEMU Virtual Machine"),
            Some("QEMU virt, arm64".to_owned())
        );
        assert_eq!(known(&["brcm,bcm2711"], "X570 AORUS"), None);
        assert_eq!(known(&[], ""), None);
    }

    #[test]
    fn no_two_boards_say_the_same_of_themselves() {
        let boards: Vec<_> = Board::names().filter_map(Board::named).collect();
        let mut said: Vec<_> = boards
            .iter()
            .flat_map(|board| board.compatible.iter().chain(&board.products))
            .collect();
        let all = said.len();
        said.sort();
        said.dedup();
        assert_eq!(said.len(), all);
    }

    #[test]
    fn the_documentation_shows_every_board_as_its_file_has_it() {
        let text = include_str!("../docs/boards.md");
        for name in Board::names() {
            let board = Board::named(name).unwrap();
            let image = if board.image { "yes" } else { "no" };
            let method = match board.boot.method {
                BootMethod::Uefi => "UEFI",
                BootMethod::Raspberry => "its firmware",
                BootMethod::UBoot => "U-Boot",
            };
            let architecture = match board.architecture {
                Architecture::Arm64 => "arm64",
                Architecture::Armhf => "armhf",
            };
            let row = format!(
                "| {} | `{name}` | {architecture} | {method} | {image} | {} | {} | {} | {} |",
                board.title,
                board.hardware_tried,
                board.memory.service_max_mib,
                board.limits.connections_max,
                board.remark
            );
            assert!(
                text.contains(&row),
                "not in src/docs/boards.md as it should be:\n{row}"
            );
        }
    }
}
