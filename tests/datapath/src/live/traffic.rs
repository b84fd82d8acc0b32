//! Frames on real links: many clients that send ([`Generator`]), and real servers that count what
//! they get ([`Sink`]). Both are programs of `bench.o`; nothing passes a socket.

use anyhow::{Context, Result, ensure};
use aya::maps::{Array, MapData, PerCpuArray};
use aya::programs::Xdp;
use aya::programs::xdp::XdpMode;
use aya::{Ebpf, TestRun, TestRunAttrs, TestRunOptions};
use lb_common::testing::PacketBuilder;
use lb_common::wire::{protocol, tcp};

use crate::peers::{VIP, load_small, program};

/// Frames handed to the device at once, as many as a driver takes from its ring in one poll.
const BATCH: u32 = 64;

/// Length of a frame of `play`.
const FRAME: usize = 64;

/// Port of the virtual service.
pub const PORT: u16 = 80;

/// What `play` is told: the frame, then clients and stride, turn, interface; as `Order` in `bench.rs`.
type Order = [u64; FRAME / 8 + 3];

/// Established flows, as the clients' packets look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flows {
    /// IP protocol number: 6 or 17.
    pub protocol: u8,
    /// How many.
    pub count: u32,
}

/// The clients.
pub struct Generator {
    object: Ebpf,
    order: Array<MapData, Order>,
}

impl Generator {
    /// Loads it.
    ///
    /// # Errors
    /// When the object is not built, or the kernel refuses it.
    pub fn load() -> Result<Self> {
        let mut object = load_small()?;
        program(&mut object, "play")?.load()?;
        let order = Array::try_from(object.take_map("order").context("no map `order`")?)?;
        Ok(Self { object, order })
    }

    /// Says what to send: flows, one after the other by `stride`, to the Ethernet address
    /// `destination`, by the device of number `ifindex` in the namespace where [`Self::send`] runs.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn prepare(&mut self, flows: Flows, stride: u32, destination: [u8; 6], ifindex: u32) -> Result<()> {
        let frame = frame(flows.protocol, destination);
        let mut order = Order::default();
        for (word, bytes) in order.iter_mut().zip(frame.chunks_exact(8)) {
            *word = u64::from_ne_bytes(bytes.try_into().context("eight bytes")?);
        }
        let last = FRAME / 8;
        order[last] = u64::from(flows.count) | u64::from(stride) << 32;

        order[last + 2] = ifindex.into();
        Ok(self.order.set(0, order, 0)?)
    }

    /// Sends so many frames, in live-frames mode.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn send(&mut self, frames: u32) -> Result<()> {
        let options = TestRunOptions {
            data_in: Some(&[0; FRAME]),
            repeat: frames,
            attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
            ..TestRunOptions::default()
        };
        program(&mut self.object, "play")?.test_run(options).context("sending frames")?;
        Ok(())
    }
}

/// The frame of the client 0.0.0.0 with port 0; `play` writes the client.
fn frame(protocol: u8, destination: [u8; 6]) -> Vec<u8> {
    let (client, vip) = (([0, 0, 0, 0].into(), 0), (VIP.into(), PORT));
    let builder = if protocol == protocol::TCP {
        PacketBuilder::tcp(client, vip, tcp::ACK, &[0xa5; FRAME - 54])
    } else {
        PacketBuilder::udp(client, vip, &[0xa5; FRAME - 42])
    };
    let mut frame = builder.build();
    frame[..6].copy_from_slice(&destination);
    frame
}

/// The real servers.
pub struct Sink {
    object: Ebpf,
    arrived: PerCpuArray<MapData, u64>,
    answer: Array<MapData, u32>,
}

impl Sink {
    /// Loads it.
    ///
    /// # Errors
    /// When the object is not built, or the kernel refuses it.
    pub fn load() -> Result<Self> {
        let mut object = load_small()?;
        program(&mut object, "sink")?.load()?;
        let arrived = PerCpuArray::try_from(object.take_map("arrived").context("no map `arrived`")?)?;
        let answer = Array::try_from(object.take_map("answer").context("no map `answer`")?)?;
        Ok(Self { object, arrived, answer })
    }

    /// Receives on a device of the namespace that this thread is in, as long as the sink lives.
    ///
    /// # Errors
    /// When the device does not take the program.
    pub fn attach(&mut self, device: &str) -> Result<()> {
        attach(program(&mut self.object, "sink")?, device)
    }

    /// Whether frames are sent back to the clients.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn answer(&mut self, answer: bool) -> Result<()> {
        Ok(self.answer.set(0, u32::from(answer), 0)?)
    }

    /// Frames that have arrived, by the last three bits of the address of the server.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn arrived(&self) -> Result<[u64; 8]> {
        let mut all = [0; 8];
        for (server, sum) in (0..).zip(&mut all) {
            *sum = self.arrived.get(&server, 0)?.iter().sum();
        }
        Ok(all)
    }
}

/// Attaches a loaded program to the driver of a device, as long as the program lives.
///
/// # Errors
/// When the device does not take it.
pub fn attach(program: &mut Xdp, device: &str) -> Result<()> {
    program.attach(device, XdpMode::Driver).with_context(|| format!("attaching XDP to {device}"))?;
    Ok(())
}

/// # Errors
/// When the stride would leave clients out.
pub(super) fn check_stride(stride: u32, count: u32) -> Result<()> {
    let (mut a, mut b) = (stride, count);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    ensure!(a == 1, "{count} flows have a factor in common with {stride}: choose another number");
    Ok(())
}
