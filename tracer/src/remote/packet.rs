//! Packets of the gdb remote protocol, `$body#checksum`, over a stream.
//!
//! Each packet is answered with `+` when it arrives whole. qemu waits for that
//! before it goes on, and takes it from in front of the next packet: so an
//! exchange is one write and one read.

use super::RemoteError;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

/// A connection to a stub.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    /// What was read and not looked at yet.
    pending: Vec<u8>,
    at: usize,
    outgoing: Vec<u8>,
}

impl Connection {
    /// Over a stream that nothing was sent on.
    pub fn new(stream: UnixStream) -> Self {
        Connection { stream, pending: Vec::new(), at: 0, outgoing: Vec::new() }
    }

    /// Sends packets, each of which confirms the answer before it, and lets
    /// `each` look at the answer to each. One at a time: qemu reads what follows a
    /// packet together with it, and then waits for a confirmation that it has.
    pub fn exchange(
        &mut self,
        bodies: &[&[u8]],
        mut each: impl FnMut(&[u8]) -> Result<(), RemoteError>,
    ) -> Result<(), RemoteError> {
        let mut answer = Vec::new();
        for body in bodies {
            let sum = body.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
            self.outgoing.clear();
            self.outgoing.extend_from_slice(b"+$");
            self.outgoing.extend_from_slice(body);
            self.outgoing.extend_from_slice(&[b'#', digit(sum >> 4), digit(sum & 15)]);
            self.stream.write_all(&self.outgoing).map_err(RemoteError::Gone)?;
            self.receive(&mut answer)?;
            each(&answer)?;
        }
        Ok(())
    }

    /// The body of the next packet.
    fn receive(&mut self, body: &mut Vec<u8>) -> Result<(), RemoteError> {
        body.clear();
        loop {
            match self.byte()? {
                b'$' => break,
                // Confirmations, and what else lies between packets.
                b'-' => return Err(RemoteError::protocol("the stub did not understand a packet")),
                _ => {}
            }
        }
        let mut sum = 0_u8;
        loop {
            let mut byte = self.byte()?;
            if byte == b'#' {
                break;
            }
            sum = sum.wrapping_add(byte);
            if byte == b'}' {
                let escaped = self.byte()?;
                sum = sum.wrapping_add(escaped);
                byte = escaped ^ 0x20;
            }
            if body.len() >= MOST_BYTES {
                return Err(RemoteError::protocol("a packet without an end"));
            }
            body.push(byte);
        }
        let said = [self.byte()?, self.byte()?];
        match unhex(&said) {
            Some([said]) if said == sum => Ok(()),
            _ => Err(RemoteError::protocol("a packet with a wrong checksum")),
        }
    }

    fn byte(&mut self) -> Result<u8, RemoteError> {
        if let Some(byte) = self.pending.get(self.at) {
            self.at += 1;
            return Ok(*byte);
        }
        self.pending.resize(CHUNK, 0);
        let got = loop {
            match self.stream.read(&mut self.pending) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(RemoteError::Gone(error)),
                Ok(got) => break got,
            }
        };
        self.pending.truncate(got);
        self.at = 1;
        let eof = || RemoteError::Gone(std::io::ErrorKind::UnexpectedEof.into());
        self.pending.first().copied().ok_or_else(eof)
    }
}

/// Bytes read at a time.
const CHUNK: usize = 4096;
/// Most bytes in a packet: qemu's are of 4 KiB.
const MOST_BYTES: usize = 1 << 16;

const fn digit(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }
}

/// Appends bytes as hexadecimal digits.
pub fn hex(bytes: &[u8], into: &mut Vec<u8>) {
    for byte in bytes {
        into.extend_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
}

/// The number in hexadecimal digits.
pub fn hex_number(number: u64) -> String {
    format!("{number:x}")
}

fn nibble(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|digit| digit as u8)
}

/// As many bytes as hexadecimal digits start with.
pub fn unhex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    for (place, pair) in bytes.iter_mut().zip(digits.get(..2 * N)?.as_chunks::<2>().0) {
        *place = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(bytes)
}

/// All bytes of hexadecimal digits; `None` where others are among them.
pub fn unhex_all(digits: &[u8], into: &mut Vec<u8>) -> Option<()> {
    into.clear();
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    for pair in pairs {
        into.push(nibble(pair[0])? << 4 | nibble(pair[1])?);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a stub on the other end answers, and what was asked.
    fn with_answers(answers: &'static [u8]) -> (Connection, UnixStream) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(answers).unwrap();
        (Connection::new(ours), theirs)
    }

    #[test]
    fn packets_are_framed_and_answers_taken_apart() {
        let (mut connection, mut stub) = with_answers(b"+$OK#9a+$7d}]#75");
        let mut answers = Vec::new();
        connection
            .exchange(&[b"g", b"p1"], |answer| {
                answers.push(answer.to_vec());
                Ok(())
            })
            .unwrap();
        assert_eq!(answers, [b"OK".to_vec(), b"7d}".to_vec()]);
        let mut asked = [0; 12];
        stub.read_exact(&mut asked).unwrap();
        assert_eq!(&asked, b"+$g#67+$p1#a");
    }

    #[test]
    fn what_is_no_packet_is_refused() {
        for bad in [&b"+$OK#9b"[..], b"-", b"+$OK#9", b"+$OK#zz"] {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            theirs.write_all(bad).unwrap();
            theirs.shutdown(std::net::Shutdown::Write).unwrap();
            assert!(Connection::new(ours).exchange(&[b"g"], |_| Ok(())).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn digits_lead_back() {
        let mut digits = Vec::new();
        hex(&[0, 0x9f, 0xff], &mut digits);
        assert_eq!(digits, b"009fff");
        let mut bytes = Vec::new();
        assert_eq!(unhex_all(&digits, &mut bytes), Some(()));
        assert_eq!(bytes, [0, 0x9f, 0xff]);
        assert_eq!(unhex_all(b"0", &mut bytes), None);
        assert_eq!(unhex_all(b"xx", &mut bytes), None);
        assert_eq!(unhex::<2>(b"009"), None);
    }
}
