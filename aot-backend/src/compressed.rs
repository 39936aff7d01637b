//! Sections that are stored compressed.
//!
//! Map and DWARF describe every slot of every boundary: several times the size
//! of the code, and most of it much like the entry before. ELF has a standard
//! way to store such sections (`SHF_COMPRESSED`: System V ABI, chapter 4,
//! "Compressed Sections"; what compilers call `-gz`), which debuggers read by
//! themselves: a header that says how, how large and how aligned the content
//! is, and then the content, here by zlib.

use crate::error::ImageError;
use flate2::{Compression, Decompress, FlushDecompress, Status, write::ZlibEncoder};
use object::elf;
use object::{CompressionFormat, Endianness, ObjectSection, U32, U64};
use std::borrow::Cow;
use std::io::Write;

/// Higher levels take twice as long and save a twentieth more.
const LEVEL: u32 = 1;

/// Bytes that a section may say it has: a file of ours that has more has more code
/// than can be addressed.
const MOST_BYTES: u64 = 1 << 30;

/// A section's content as it is stored when compressed; `None` where that is no shorter.
pub(crate) fn compressed(bytes: &[u8], endian: Endianness) -> Option<Vec<u8>> {
    let header = elf::CompressionHeader64::<Endianness> {
        ch_type: U32::new(endian, elf::ELFCOMPRESS_ZLIB),
        ch_reserved: U32::new(endian, 0),
        ch_size: U64::new(endian, bytes.len() as u64),
        ch_addralign: U64::new(endian, 8),
    };
    let mut encoder = ZlibEncoder::new(object::bytes_of(&header).to_vec(), Compression::new(LEVEL));
    encoder.write_all(bytes).ok()?;
    encoder.finish().ok().filter(|stored| stored.len() < bytes.len())
}

/// The content of a section, however it is stored. The bytes may be anyone's.
///
/// # Errors
/// Compressed in another way than zlib's, damaged, or of another length than it says.
pub(crate) fn content<'a>(section: &impl ObjectSection<'a>) -> Result<Cow<'a, [u8]>, ImageError> {
    let stored = section.compressed_data()?;
    match stored.format {
        CompressionFormat::None => return Ok(Cow::Borrowed(stored.data)),
        CompressionFormat::Zlib => {}
        _ => return Err(ImageError::Compressed("in a way that this version does not read")),
    }
    if stored.uncompressed_size > MOST_BYTES {
        return Err(ImageError::Compressed("and says that it is of more than 1 GiB"));
    }
    // What it says costs nothing until there are bytes for it.
    let mut bytes = Vec::new();
    let size = stored.uncompressed_size as usize;
    bytes.try_reserve_exact(size).map_err(|_| ImageError::Compressed("and too large"))?;
    let ended =
        Decompress::new(true).decompress_vec(stored.data, &mut bytes, FlushDecompress::Finish);
    match ended {
        Ok(Status::StreamEnd) if bytes.len() == size => Ok(Cow::Owned(bytes)),
        _ => Err(ImageError::Compressed("and damaged")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_shorter_stays_as_it_is() {
        assert_eq!(compressed(b"short", Endianness::Little), None);
        let zeros = compressed(&[0; 1000], Endianness::Big).expect("shorter");
        assert!(zeros.starts_with(&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0xe8]));
    }
}
