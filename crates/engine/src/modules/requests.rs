//! The requests an interpreter serves: `mod_wsgi.request_data()` and `mod_wsgi.active_requests`.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, MutexGuard};

use engine_abi::Request;

use crate::interpreter::Interpreter;
use crate::lock::lock;
use crate::python::{Attached, Object, Owned, Raised, Result, Stored};

thread_local! {
    /// The request that this thread serves.
    static SERVED: RefCell<Option<Arc<Served>>> = const { RefCell::new(None) };
}

/// What Python code can ask of a request that is being served.
pub(crate) struct Served {
    /// The id that httpd logs it by, `%L`.
    id: Option<Stored>,
    /// The application's own dict, until the request is over. It may hold what holds the request.
    data: Mutex<Option<Stored>>,
}

/// While it lives, the thread serves the request.
pub(crate) struct Serving<'py> {
    py: Attached<'py>,
    interpreter: &'static Interpreter,
    served: Arc<Served>,
    /// What the thread served before: a request inside a request.
    before: Option<Arc<Served>>,
}

/// While it lives, the thread serves no request that has a dict: it runs functions of a script that
/// decide about one, perhaps inside another that it serves.
pub(crate) struct Deciding {
    before: Option<Arc<Served>>,
}

impl Deciding {
    /// Begins to decide.
    pub(crate) fn begin() -> Self {
        Self {
            before: SERVED.take(),
        }
    }
}

impl Drop for Deciding {
    fn drop(&mut self) {
        SERVED.set(self.before.take());
    }
}

/// Adds the function and the dict to the module; gives the dict.
pub(super) fn define<'py>(module: &Object<'py>) -> Result<'py, Stored> {
    let py = module.py();
    let active = py.dict()?;
    module.set_attribute(c"active_requests", &active)?;
    let doc = c"request_data()\n--\n\nA dict that belongs to the request of the calling thread.";
    let function = py.function(c"request_data", doc, request_data)?;
    module.set_attribute(c"request_data", &function)?;
    Ok(active.into_stored())
}

fn request_data<'py>(py: Attached<'py>, arguments: &[&Object<'py>]) -> Result<'py, Owned<'py>> {
    if !arguments.is_empty() {
        let message = "request_data() takes no arguments";
        return Err(Raised::type_error(py, message));
    }
    // A destructor may ask while the thread ends.
    let served = SERVED.try_with(|served| served.borrow().clone());
    let served = served.ok().flatten();
    let data = served.and_then(|served| served.data(py));
    data.ok_or_else(|| {
        let message = "request_data() was called on a thread that serves no request";
        Raised::runtime_error(py, message)
    })
}

impl Served {
    /// The request's id; `None` if it has none.
    pub(crate) fn id<'a, 'py: 'a>(&'a self, py: Attached<'py>) -> Option<&'a Object<'py>> {
        self.id.as_ref().map(|id| id.bind(py))
    }

    /// The request's dict; `None` when the request is over.
    pub(crate) fn data<'py>(&self, py: Attached<'py>) -> Option<Owned<'py>> {
        self.lock().as_ref().map(|data| data.bind(py).owned())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Stored>> {
        lock(&self.data)
    }
}

impl<'py> Serving<'py> {
    /// Begins to serve a request.
    pub(crate) fn begin(
        py: Attached<'py>,
        interpreter: &'static Interpreter,
        request: &Request<'_>,
    ) -> Result<'py, Self> {
        let id = request
            .variable(b"mod_wsgi.request_id")
            .filter(|id| !id.is_empty());
        let id = id.map(|id| py.latin1(id)).transpose()?;
        let data = py.dict()?;
        if let Some(id) = &id {
            interpreter
                .modules()
                .active_requests(py)
                .set_item(id, &data)?;
        }
        let served = Arc::new(Served {
            id: id.map(Owned::into_stored),
            data: Mutex::new(Some(data.into_stored())),
        });
        Ok(Self {
            py,
            interpreter,
            before: SERVED.replace(Some(Arc::clone(&served))),
            served,
        })
    }

    /// The request.
    pub(crate) const fn served(&self) -> &Arc<Served> {
        &self.served
    }
}

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        SERVED.set(self.before.take());
        if let Some(id) = self.served.id(self.py) {
            // An application that made something else of the dict has nothing to be removed.
            let _ = self
                .interpreter
                .modules()
                .active_requests(self.py)
                .remove_item(id);
        }
        // What it holds may run code of the application as it goes, so not under the lock.
        let data = self.served.lock().take();
        drop(data);
    }
}
