//! An XPRESS encoder (MS-XCA 2.3, blocks as in MS-WUSP 2.1.1), so that servers of ours can answer as a WSUS does. weir itself only decodes.

/// Blocks as long as those of Windows Server 2025.
pub(crate) fn encode(plain: &[u8]) -> Vec<u8> {
    let mut coded = Vec::new();
    for block in plain.chunks(16_352) {
        let short = compress(block);
        let body = if short.len() < block.len() { &short[..] } else { block };
        coded.extend_from_slice(&(block.len() as u32).to_le_bytes());
        coded.extend_from_slice(&(body.len() as u32).to_le_bytes());
        coded.extend_from_slice(body);
    }
    coded
}

/// Plain LZ77, greedily: of the places where the next three bytes stood before, the last counts.
fn compress(plain: &[u8]) -> Vec<u8> {
    let mut writer = Writer { coded: vec![0; 4], flags_at: 0, flags: 0, count: 0, half_at: None };
    let mut seen = std::collections::HashMap::new();
    let mut at = 0;
    while at < plain.len() {
        let earlier = plain.get(at..at + 3).and_then(|three| seen.insert(three, at)).filter(|start| at - start <= 8192);
        let same = |start: usize| plain[start..].iter().zip(&plain[at..]).take_while(|(a, b)| a == b).count();
        match earlier.map(|start| (at - start, same(start))) {
            Some((distance, len)) => {
                writer.reference(distance, len);
                at += len;
            }
            None => {
                writer.flag(0);
                writer.coded.push(plain[at]);
                at += 1;
            }
        }
    }
    writer.finish()
}

struct Writer {
    coded: Vec<u8>,
    flags_at: usize,
    flags: u32,
    count: u32,
    half_at: Option<usize>,
}

impl Writer {
    fn flag(&mut self, flag: u32) {
        if self.count == 32 {
            self.write_flags();
            (self.flags_at, self.flags, self.count) = (self.coded.len(), 0, 0);
            self.coded.extend([0; 4]);
        }
        self.flags = self.flags << 1 | flag;
        self.count += 1;
    }

    fn reference(&mut self, distance: usize, len: usize) {
        self.flag(1);
        let len = len - 3;
        self.coded.extend_from_slice(&(((distance - 1) << 3 | len.min(7)) as u16).to_le_bytes());
        if len < 7 {
            return;
        }
        self.nibble((len - 7).min(15) as u8);
        if len - 7 < 15 {
            return;
        }
        if len - 22 < 255 {
            self.coded.push((len - 22) as u8);
        } else {
            self.coded.push(255);
            self.coded.extend_from_slice(&(len as u16).to_le_bytes());
        }
    }

    fn nibble(&mut self, nibble: u8) {
        match self.half_at.take() {
            Some(at) => self.coded[at] |= nibble << 4,
            None => {
                self.half_at = Some(self.coded.len());
                self.coded.push(nibble);
            }
        }
    }

    fn write_flags(&mut self) {
        self.coded[self.flags_at..self.flags_at + 4].copy_from_slice(&self.flags.to_le_bytes());
    }

    /// Flags that stand for nothing are set.
    fn finish(mut self) -> Vec<u8> {
        let left = 32 - self.count;
        self.flags = (((u64::from(self.flags) + 1) << left) - 1) as u32;
        self.write_flags();
        self.coded
    }
}
