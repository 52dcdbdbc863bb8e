// SPDX-License-Identifier: GPL-2.0-only
//! `corevisor-vm map`: whose each page of RAM is, as a picture.
//!
//! A row is 512 pixels, in a machine with up to 2 GiB a page each: then a row is a block of 2 MiB. With more memory a pixel
//! stands for more pages, and shows the most remarkable of them.

use crate::Problem;
use crate::owners::{PAGE, Run, Whose, totals};
use crate::status::size;
use font8x8::{BASIC_FONTS, UnicodeFonts};
use std::path::Path;

/// Pixels in a row.
const WIDTH: usize = 512;
/// Rows of memory, at most.
const ROWS: u64 = 1024;
/// Between ranges of memory, and around the legend.
const GAP: usize = 8;
/// Letters are 8 pixels high, shown twice as large.
const LETTER: usize = 16;
const LINE: usize = LETTER + 4;

type Colour = [u8; 3];

const BACKGROUND: Colour = [24, 24, 28];
const INK: Colour = [235, 235, 235];
const HOST: Colour = [96, 125, 160];
const COREVISOR: Colour = [214, 39, 40];
/// Of VMs 1 to 15: neighbours differ, and none is like the host's or Corevisor's.
const MACHINES: [Colour; 15] = [
    [255, 200, 40],
    [70, 190, 90],
    [190, 110, 220],
    [0, 200, 210],
    [255, 130, 30],
    [160, 220, 60],
    [240, 120, 190],
    [60, 160, 140],
    [200, 160, 110],
    [130, 130, 255],
    [220, 220, 120],
    [120, 90, 200],
    [150, 200, 240],
    [180, 140, 40],
    [250, 180, 170],
];

/// A picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Pixels in a row.
    pub width: usize,
    /// Red, green and blue of each pixel, row by row.
    pub pixels: Vec<u8>,
}

impl Picture {
    /// The picture of this memory.
    pub fn draw(runs: &[Run]) -> Self {
        let mut picture = Self { width: WIDTH, pixels: Vec::new() };
        let pages: u64 = runs.iter().map(|run| run.count).sum();
        let scale = pages.div_ceil(WIDTH as u64 * ROWS).next_power_of_two();
        for range in ranges(runs) {
            picture.memory(range, scale);
            picture.blank(GAP);
        }
        let unit = match scale {
            1 => "a pixel is a page, a row is 2 MiB".into(),
            _ => format!("a pixel is {}, a row {}", size(scale), size(scale * WIDTH as u64)),
        };
        picture.text(GAP, &unit, INK);
        for (whose, pages) in totals(runs) {
            let top = picture.text(4 * GAP, &format!("{whose}: {}", size(pages)), INK);
            picture.fill(GAP, top, LETTER, LETTER, |x, y| colour(whose, x, y));
        }
        picture.blank(GAP);
        picture
    }

    /// Writes it as a PNG.
    ///
    /// # Errors
    /// If the file can't be written.
    pub fn write(&self, file: &Path) -> Result<(), Problem> {
        let problem = |why: &dyn std::fmt::Display| format!("{}: {why}", file.display());
        let output = std::fs::File::create(file).map_err(|why| problem(&why))?;
        let mut encoder = png::Encoder::new(std::io::BufWriter::new(output), self.width as u32, self.height() as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header().map_err(|why| problem(&why))?;
        writer.write_image_data(&self.pixels).map_err(|why| problem(&why))?;
        writer.finish().map_err(|why| problem(&why))
    }

    /// Number of rows.
    pub fn height(&self) -> usize {
        self.pixels.len() / (3 * self.width)
    }

    /// Adds rows of background.
    fn blank(&mut self, rows: usize) {
        let pixels = self.pixels.len() / 3 + rows * self.width;
        self.pixels.resize_with(3 * pixels, Default::default);
        let from = 3 * (pixels - rows * self.width);
        self.pixels[from..].as_chunks_mut().0.fill(BACKGROUND);
    }

    /// Adds a range of memory, `scale` pages a pixel.
    fn memory(&mut self, range: &[Run], scale: u64) {
        let (Some(first), Some(last)) = (range.first(), range.last()) else { return };
        let pixels = (last.pfn + last.count - first.pfn).div_ceil(scale);
        let top = self.height();
        self.blank(pixels.div_ceil(self.width as u64) as usize);
        let mut runs = range.iter().peekable();
        for pixel in 0..pixels {
            let (start, end) = (first.pfn + pixel * scale, first.pfn + (pixel + 1) * scale);
            while runs.next_if(|run| run.pfn + run.count <= start).is_some() {}
            let seen = runs.clone().take_while(|run| run.pfn < end).map(|run| run.whose);
            if let Some(whose) = seen.max_by_key(|whose| remarkable(*whose)) {
                let (x, y) = (pixel as usize % self.width, pixel as usize / self.width);
                self.set(x, top + y, colour(whose, x, y));
            }
        }
    }

    /// Adds a line of text; its first row.
    fn text(&mut self, left: usize, text: &str, ink: Colour) -> usize {
        let top = self.height();
        self.blank(LINE);
        for (number, letter) in text.chars().enumerate() {
            let shape = BASIC_FONTS.get(letter).unwrap_or_default();
            for (y, row) in shape.iter().enumerate() {
                for x in (0..8).filter(|x| row >> x & 1 != 0) {
                    self.fill(left + LETTER / 2 * number + x, top + 2 * y, 1, 2, |_, _| ink);
                }
            }
        }
        top
    }

    fn fill(&mut self, left: usize, top: usize, width: usize, height: usize, colour: impl Fn(usize, usize) -> Colour) {
        for (y, x) in (top..top + height).flat_map(|y| (left..left + width).map(move |x| (y, x))) {
            self.set(x, y, colour(x, y));
        }
    }

    /// What lies beside the picture is not seen.
    fn set(&mut self, x: usize, y: usize, colour: Colour) {
        let width = self.width;
        if let Some(pixel) = self.pixels.as_chunks_mut().0.get_mut(y * width + x).filter(|_| x < width) {
            *pixel = colour;
        }
    }
}

/// What the picture shows, in words: by address.
pub fn legend(runs: &[Run]) -> String {
    let line = |run: &Run| {
        let (start, end) = (run.pfn * PAGE, (run.pfn + run.count) * PAGE);
        format!("{start:#014x} to {:#014x}  {:>12}  {}\n", end - 1, size(run.count), run.whose)
    };
    runs.iter().map(line).collect()
}

/// Where nothing lies between them, runs make a range.
fn ranges(runs: &[Run]) -> impl Iterator<Item = &[Run]> {
    runs.chunk_by(|one, next| one.pfn + one.count == next.pfn)
}

/// What a pixel shows that stands for several pages.
fn remarkable(whose: Whose) -> u8 {
    match whose {
        Whose::Nothing => 0,
        Whose::Host => 1,
        Whose::Corevisor => 2,
        Whose::Vm(_) => 3,
        Whose::SharedVm(_) => 4,
    }
}

/// Pages that a VM shares are hatched.
fn colour(whose: Whose, x: usize, y: usize) -> Colour {
    let machine = |number: u64| MACHINES[(number.wrapping_sub(1) % MACHINES.len() as u64) as usize];
    match whose {
        Whose::Nothing => BACKGROUND,
        Whose::Host => HOST,
        Whose::Corevisor => COREVISOR,
        Whose::Vm(number) => machine(number),
        Whose::SharedVm(number) if (x + y) % 4 < 2 => machine(number),
        Whose::SharedVm(_) => HOST,
    }
}

#[cfg(test)]
mod tests {
    use super::{BACKGROUND, COREVISOR, HOST, MACHINES, Picture, WIDTH, legend};
    use crate::owners::tests::{IOMEM, ask};
    use crate::owners::{Run, Whose, survey};

    fn runs() -> Vec<Run> {
        survey(IOMEM, |pfn| Ok(ask(pfn))).unwrap()
    }

    fn pixel(picture: &Picture, x: usize, y: usize) -> [u8; 3] {
        picture.pixels.as_chunks().0[y * picture.width + x]
    }

    #[test]
    fn a_page_is_a_pixel() {
        let picture = Picture::draw(&runs());
        assert_eq!(pixel(&picture, 0, 0), HOST);
        // 256 MiB further VM 2 begins; its second page is shared, and the pattern says so somewhere.
        assert_eq!(pixel(&picture, 0, 128), MACHINES[1]);
        assert_eq!(pixel(&picture, 2, 128), MACHINES[1]);
        assert_eq!(pixel(&picture, 511, 255), MACHINES[1]);
        assert_eq!(pixel(&picture, 0, 256), COREVISOR);
        assert_eq!(pixel(&picture, 0, 261), HOST);
        // A gap, and the other range.
        assert_eq!(pixel(&picture, 0, 512), BACKGROUND);
        assert_eq!(pixel(&picture, 0, 520), HOST);
        assert_eq!(picture.pixels.len(), 3 * WIDTH * picture.height());
    }

    #[test]
    fn much_memory_still_shows_little_vms() {
        let runs = [
            Run { pfn: 0, count: (64 << 18) - 100, whose: Whose::Host },
            Run { pfn: (64 << 18) - 100, count: 1, whose: Whose::Vm(1) },
            Run { pfn: (64 << 18) - 99, count: 99, whose: Whose::Host },
        ];
        let picture = Picture::draw(&runs);
        assert!(picture.height() < 1200);
        assert!(picture.pixels.as_chunks().0.iter().take(WIDTH * 1024).any(|pixel| *pixel == MACHINES[0]));
    }

    #[test]
    fn same_memory_same_picture() {
        assert_eq!(Picture::draw(&runs()), Picture::draw(&runs()));
    }

    #[test]
    fn no_memory_no_panic() {
        assert!(Picture::draw(&[]).height() > 0);
        assert_eq!(legend(&[]), "");
    }

    #[test]
    fn png_is_readable() {
        let file = std::env::temp_dir().join(format!("corevisor-vm-map-{}.png", std::process::id()));
        let picture = Picture::draw(&runs());
        picture.write(&file).unwrap();
        let decoder = png::Decoder::new(std::io::BufReader::new(std::fs::File::open(&file).unwrap()));
        let mut reader = decoder.read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut pixels).unwrap();
        std::fs::remove_file(&file).unwrap();
        assert_eq!(pixels, picture.pixels);
    }

    #[test]
    fn legend_by_address() {
        let legend = legend(&runs());
        assert!(legend.contains("0x000060000000 to 0x0000609fffff      10.0 MiB  Corevisor\n"), "{legend}");
    }
}
