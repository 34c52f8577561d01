//! Reading a message of up to 32 header fields takes nothing from the heap.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bytes::Bytes;
use e911d::sip::Message;

struct Counting;

thread_local! {
    static TAKEN: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is done by the system's allocator; counting touches a cell of this thread only.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        TAKEN.set(TAKEN.get() + 1);
        // SAFETY: the caller keeps to the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn a_message_of_32_fields_is_read_without_an_allocation() {
    let fields: String = (0..27).map(|i| format!("X-{i}: \"A\" <sip:a@b>;tag={i}\r\n")).collect();
    let text = format!(
        "INVITE sip:911@h SIP/2.0\r\nv: SIP/2.0/UDP h;branch=z9hG4bK1\r\nf: \"A\\\"\" <sip:a@[::1]>;tag=1\r\nt: sip:b@h\r\ni: 1\r\n\
         CSeq: 1 INVITE\r\n{fields}\r\nv=0\r\n"
    );
    let bytes = Bytes::from(text).slice(..);
    let before = TAKEN.get();
    let msg = Message::scan(bytes.clone());
    assert_eq!(TAKEN.get(), before);
    let msg = msg.expect("a start line");
    assert_eq!((msg.headers().len(), msg.faults().is_clean()), (32, true));
}
