//! The smallest zip archive that unzip accepts: members stored, not compressed.

/// An archive of these members.
pub(crate) fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in members {
        let offset = bytes.len() as u32;
        let common = common_header(name, content);
        bytes.extend(0x0403_4b50_u32.to_le_bytes());
        bytes.extend(&common);
        bytes.extend(name.as_bytes());
        bytes.extend(*content);

        directory.extend(0x0201_4b50_u32.to_le_bytes());
        directory.extend(20_u16.to_le_bytes()); // made by version 2.0
        directory.extend(&common);
        directory.extend([0; 10]); // comment length, disk, attributes
        directory.extend(offset.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let (start, size, count) = (
        bytes.len() as u32,
        directory.len() as u32,
        members.len() as u16,
    );
    bytes.extend(directory);
    bytes.extend(0x0605_4b50_u32.to_le_bytes());
    bytes.extend([0; 4]); // disks
    bytes.extend(count.to_le_bytes());
    bytes.extend(count.to_le_bytes());
    bytes.extend(size.to_le_bytes());
    bytes.extend(start.to_le_bytes());
    bytes.extend([0; 2]); // comment length
    bytes
}

/// The 26 bytes that the local header and the directory entry share.
fn common_header(name: &str, content: &[u8]) -> Vec<u8> {
    let size = content.len() as u32;
    let mut header = Vec::new();
    header.extend(20_u16.to_le_bytes()); // needs version 2.0
    header.extend([0; 4]); // flags, stored
    header.extend([0, 0, 0x21, 0]); // midnight, 1 January 1980
    header.extend(crc32(content).to_le_bytes());
    header.extend(size.to_le_bytes());
    header.extend(size.to_le_bytes());
    header.extend((name.len() as u16).to_le_bytes());
    header.extend([0; 2]); // extra length
    header
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |mut crc, byte| {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
        crc
    })
}
