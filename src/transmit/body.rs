//! Bodies that may give segments in place of bytes, and what makes them fit for hyper.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::transmit::{Lane, Outgoing, Segment};

/// In what form a body's bytes are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// In memory.
    Bytes,
    /// Stored bytes as segments, where that is possible and they are more than so many.
    Segments { above: usize },
}

/// A piece of a body.
#[derive(Debug)]
pub enum Part {
    Frame(Frame<Bytes>),
    Segment(Segment),
}

/// A body that can give segments. As a plain [`Body`] it gives bytes alone, so that it may go anywhere.
pub trait Parts: Body<Data = Bytes> {
    /// [`Body::poll_frame`] in the form that is wanted. Without a definition of its own: a body that has bytes alone.
    fn poll_part(self: Pin<&mut Self>, cx: &mut Context<'_>, delivery: Delivery) -> Poll<Option<Result<Part, Self::Error>>> {
        let _ = delivery;
        self.poll_frame(cx).map_ok(Part::Frame)
    }
}

/// A body whose segments go through a lane. hyper gets it together with the lane's sender.
#[derive(Debug)]
pub struct Placed<B> {
    body: B,
    lane: Lane,
}

impl Part {
    /// Bytes of content.
    pub fn len(&self) -> usize {
        match self {
            Self::Frame(frame) => frame.data_ref().map_or(0, Bytes::len),
            Self::Segment(segment) => segment.len,
        }
    }

    /// What a body gave that was asked for [`Delivery::Bytes`].
    pub fn into_frame(self) -> Frame<Bytes> {
        match self {
            Self::Frame(frame) => frame,
            Self::Segment(_) => unreachable!("invariant: segments come only where they were asked for"),
        }
    }

    /// No content: trailers.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<B> Placed<B> {
    pub(super) fn new(body: B, lane: Lane) -> Self {
        Self { body, lane }
    }
}

impl<B: Parts + Unpin> Body for Placed<B> {
    type Data = Outgoing;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Outgoing>, B::Error>>> {
        let this = self.get_mut();
        // The place first: a segment that was taken from the body could not be given back.
        let slot = this.lane.slot();
        let delivery = if slot.is_some() { Delivery::Segments { above: this.lane.config().copy_max } } else { Delivery::Bytes };
        Pin::new(&mut this.body).poll_part(cx, delivery).map_ok(|part| match (part, slot) {
            (Part::Segment(segment), Some(slot)) => Frame::data(Outgoing::Placed(this.lane.place(slot, segment))),
            (part, _) => part.into_frame().map_data(Outgoing::Bytes),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
