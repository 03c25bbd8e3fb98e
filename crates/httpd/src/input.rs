//! The body of a request, as it comes out of the input filters.

use std::ffi::c_char;
use std::ptr;

use httpd_sys as sys;
use httpd_sys::{buckets, errno};

use crate::brigade::Buckets;
use crate::request::Request;
use crate::status::Status;

/// Why a body could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// The client went away or the connection broke.
    #[error("the client went away")]
    Disconnected,
    /// Nothing came for as long as the server waits.
    #[error("the client sent nothing for longer than the server waits")]
    TimedOut,
    /// It is larger than `LimitRequestBody` allows.
    #[error("the body is larger than LimitRequestBody allows")]
    TooLarge,
    /// Its framing is broken, or a filter refused it.
    #[error("the body is malformed, or an input filter refused it")]
    Malformed,
}

impl InputError {
    fn from_status(status: sys::apr_status_t) -> Self {
        match status {
            status if errno::apr_status_is_timeup(status) => Self::TimedOut,
            status if errno::apr_status_is_disconnected(status) => Self::Disconnected,
            // The child is to end at once, and httpd has closed the client's socket.
            sys::APR_EBADF => Self::Disconnected,
            // What httpd's own filter says of a chunked body that passes the limit.
            sys::APR_ENOSPC => Self::TooLarge,
            _ => Self::Malformed,
        }
    }
}

/// How often in a row input filters may return nothing. A filter that decompresses may consume as
/// little as a byte each time, and return nothing for some thousands of calls.
const MOST_VAIN: u32 = 100_000;

/// Whether to wait for data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    Yes,
    No,
}

/// What the filters have brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Brought {
    /// Data, or the end.
    Something,
    /// Nothing, though one may have taken something that it cannot make anything of yet.
    Nothing,
    /// Nothing: the client is to send more first.
    NotYet,
}

/// Reads the body of a request. What a filter delivered and nobody took waits in it.
#[derive(Debug)]
pub struct RequestBody<'r> {
    request: Request<'r>,
    /// Made by the first read: most requests have no body.
    waiting: Option<Buckets>,
    /// How reading ended, once it has.
    ended: Option<Result<(), InputError>>,
    /// Whether a filter has refused the body, and answered the request itself.
    is_answered: bool,
    /// How often in a row the filters have brought nothing.
    vain: u32,
}

impl<'r> RequestBody<'r> {
    /// The body of `request`, of which nothing may have been read.
    pub fn new(request: Request<'r>) -> Self {
        Self {
            request,
            waiting: None,
            ended: request.is_body_withheld().then_some(Ok(())),
            is_answered: false,
            vain: 0,
        }
    }

    /// Reads some of the body: waits until there is at least a byte of it, and returns how many
    /// were put into `buffer`, 0 at the end. After an error every further read fails alike.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, InputError> {
        if buffer.is_empty() {
            if self.ended.is_none() {
                self.invite();
            }
            return Ok(0);
        }
        loop {
            let taken = self.take(buffer)?;
            if taken > 0 {
                return Ok(taken);
            }
            if let Some(end) = self.ended {
                return end.map(|()| 0);
            }
            self.fetch(buffer.len(), Wait::Yes)?;
        }
    }

    /// Reads some of the body, but does not wait for it: `None` if there is nothing yet. 0 is the
    /// end.
    pub fn try_read(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, InputError> {
        loop {
            let taken = self.take(buffer)?;
            if taken > 0 {
                return Ok(Some(taken));
            }
            if let Some(end) = self.ended {
                return end.map(|()| Some(0));
            }
            let brought = self.fetch(buffer.len(), Wait::No)?;
            if brought == Brought::NotYet || brought == Brought::Nothing && !self.is_pending() {
                self.vain = 0;
                return Ok(None);
            }
        }
    }

    /// Gives the body up, after waiting too long for more of it.
    pub fn time_out(&mut self) -> InputError {
        self.fail(InputError::TimedOut)
    }

    /// Whether there may be more of it to read.
    pub fn may_go_on(&self) -> bool {
        self.ended.is_none() && self.request.has_body()
    }

    /// Whether an input filter refused the body and has answered the request itself. Nothing more
    /// may be sent then, and the handler must return [`Status::FILTER_ERROR`].
    pub fn is_answered(&self) -> bool {
        self.is_answered
    }

    /// What a filter that answered did so for.
    fn cause_of_answer(&self) -> InputError {
        match self.request.status() {
            Status::REQUEST_ENTITY_TOO_LARGE => InputError::TooLarge,
            Status::REQUEST_TIME_OUT => InputError::TimedOut,
            _ => InputError::Malformed,
        }
    }

    /// Tells a client that waits for it to go on and send the body.
    fn invite(&mut self) {
        let request = self.request.as_ptr();
        // SAFETY: the request is valid. httpd's own input filter does the same at the first read of
        // a body.
        unsafe {
            if (*request).bytes_sent != 0 || (*request).eos_sent != 0 {
                return;
            }
            let (status, line) = ((*request).status, (*request).status_line);
            (*request).status = sys::HTTP_CONTINUE;
            (*request).status_line = ptr::null();
            // Does nothing if the client does not wait.
            sys::ap_send_interim_response(request, 0);
            (*request).status = status;
            (*request).status_line = line;
        }
    }

    /// Whether httpd has already read from the client what the filters have not taken: the socket
    /// does not tell of that any more. Of a stream nothing is known.
    fn is_pending(&self) -> bool {
        let connection = self.request.connection();
        if connection.own_socket().is_none() {
            return false;
        }
        let looked = Buckets::new(self.request);
        // SAFETY: the filters are those of the connection, whose thread this is; the brigade is
        // ours. httpd looks for the next request in the same way.
        let status = unsafe {
            sys::ap_get_brigade(
                (*connection.as_ptr()).input_filters,
                looked.as_ptr(),
                sys::ap_input_mode_t_AP_MODE_SPECULATIVE,
                sys::apr_read_type_e_APR_NONBLOCK_READ,
                1,
            )
        };
        // SAFETY: the brigade is ours.
        let first = unsafe { buckets::apr_brigade_first(looked.as_ptr()) };
        status == sys::APR_SUCCESS && !first.is_null()
    }

    /// Asks the input filters for at most `wanted` bytes.
    fn fetch(&mut self, wanted: usize, wait: Wait) -> Result<Brought, InputError> {
        let waiting = self.brigade();
        let wanted = sys::apr_off_t::try_from(wanted).unwrap_or(sys::apr_off_t::MAX);
        // SAFETY: the filters are those of the request, whose thread this is; the brigade is ours.
        let status = unsafe {
            sys::ap_get_brigade(
                (*self.request.as_ptr()).input_filters,
                waiting,
                sys::ap_input_mode_t_AP_MODE_READBYTES,
                match wait {
                    Wait::Yes => sys::apr_read_type_e_APR_BLOCK_READ,
                    Wait::No => sys::apr_read_type_e_APR_NONBLOCK_READ,
                },
                wanted,
            )
        };
        if wait == Wait::No && errno::apr_status_is_eagain(status) {
            return Ok(Brought::NotYet);
        }
        if status == sys::AP_FILTER_ERROR {
            self.is_answered = true;
            return Err(self.fail(self.cause_of_answer()));
        }
        if status != sys::APR_SUCCESS {
            return Err(self.fail(InputError::from_status(status)));
        }
        // SAFETY: the brigade is ours.
        if !unsafe { buckets::apr_brigade_first(waiting) }.is_null() {
            self.vain = 0;
            return Ok(Brought::Something);
        }
        self.vain += 1;
        if self.vain >= MOST_VAIN {
            return Err(self.fail(InputError::Malformed));
        }
        Ok(Brought::Nothing)
    }

    /// Moves what is waiting into `buffer`, as far as it fits, up to the end of the body.
    fn take(&mut self, buffer: &mut [u8]) -> Result<usize, InputError> {
        let waiting = self.brigade();
        let mut taken = 0;
        while taken < buffer.len() && self.ended.is_none() {
            // SAFETY: the brigade is ours.
            let bucket = unsafe { buckets::apr_brigade_first(waiting) };
            if bucket.is_null() {
                break;
            }
            taken += self.take_bucket(bucket, &mut buffer[taken..])?;
        }
        Ok(taken)
    }

    /// Takes what fits from the first bucket, and removes what was taken.
    fn take_bucket(
        &mut self,
        bucket: *mut sys::apr_bucket,
        buffer: &mut [u8],
    ) -> Result<usize, InputError> {
        // SAFETY: the bucket is in our brigade; it is not used after it was deleted, and its data
        // is copied before.
        unsafe {
            if buckets::apr_bucket_is_eos(bucket) {
                self.ended = Some(Ok(()));
            }
            if buckets::apr_bucket_is_metadata(bucket) {
                buckets::apr_bucket_delete(bucket);
                return Ok(0);
            }
            let data = read_bucket(bucket).map_err(|error| self.fail(error))?;
            let taken = data.len().min(buffer.len());
            buffer[..taken].copy_from_slice(&data[..taken]);
            if taken < data.len() {
                let split = buckets::apr_bucket_split(bucket, taken);
                if split != sys::APR_SUCCESS {
                    return Err(self.fail(InputError::from_status(split)));
                }
            }
            buckets::apr_bucket_delete(bucket);
            Ok(taken)
        }
    }

    fn fail(&mut self, error: InputError) -> InputError {
        self.ended = Some(Err(error));
        error
    }

    fn brigade(&mut self) -> *mut sys::apr_bucket_brigade {
        let request = self.request;
        self.waiting
            .get_or_insert_with(|| Buckets::new(request))
            .as_ptr()
    }
}

/// The data of a bucket, valid until the bucket is deleted or split.
///
/// # Safety
///
/// `bucket` must be a bucket with data that is in a brigade, and stay there during `'b`.
unsafe fn read_bucket<'b>(bucket: *mut sys::apr_bucket) -> Result<&'b [u8], InputError> {
    let mut data: *const c_char = ptr::null();
    let mut length = 0;
    // SAFETY: the caller passes a bucket in a brigade, and both places are writable.
    let status = unsafe {
        buckets::apr_bucket_read(
            bucket,
            &raw mut data,
            &raw mut length,
            sys::apr_read_type_e_APR_BLOCK_READ,
        )
    };
    if status != sys::APR_SUCCESS {
        return Err(InputError::from_status(status));
    }
    if length == 0 {
        return Ok(&[]);
    }
    // SAFETY: a successful read gives that many bytes, which the bucket keeps.
    Ok(unsafe { std::slice::from_raw_parts(data.cast(), length) })
}
