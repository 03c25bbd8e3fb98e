//! Hook scripts: functions that decide about a request before an application gets it: who may
//! enter, and where the request goes.
//!
//! [`call`] runs on the request's thread. The results of the functions are classified here and
//! interpreted by the host.
//!
//! - [`returned`]: what a function returned, as the host gets it
//! - [`server`]: functions of the server that a script can call meanwhile, such as
//!   `mod_ssl.is_https`

mod returned;
mod server;

use std::sync::Arc;

use engine_abi::{Call, Called};

pub(crate) use self::returned::Answer;
use self::server::Auth;
use crate::host::Exchange;
use crate::interpreter::Interpreter;
use crate::log;
use crate::modules::Deciding;
use crate::python::{Attached, Object, Owned, Raised, Result, Type};
use crate::script;

/// What an interpreter keeps for the scripts that are called.
pub(crate) struct State {
    auth: Type<Auth>,
}

impl State {
    /// Makes it, for the interpreter that `module`, its `mod_wsgi`, belongs to.
    pub(crate) fn create<'py>(module: &Object<'py>) -> Result<'py, Self> {
        Ok(Self {
            auth: Type::create(module)?,
        })
    }
}

/// Calls the functions, up to the first that fails or returns something that cannot be a name.
/// Exceptions have been logged when this returns.
pub(crate) fn call(
    py: Attached<'_>,
    interpreter: &'static Interpreter,
    call: &Call<'_>,
    mtime: Option<i64>,
    exchange: &Arc<Exchange>,
) -> std::result::Result<Vec<Answer>, Called> {
    let _context = log::Context::enter(py, interpreter, Arc::clone(exchange));
    let _deciding = Deciding::begin();
    let module = script::module(py, interpreter, &call.script, mtime, exchange);
    let visit = Visit {
        interpreter,
        call,
        exchange,
        module: module.map_err(|_| Called::NOT_LOADED)?,
    };
    let arguments = visit.arguments(py).map_err(|raised| {
        visit.report(&raised);
        Called::FAILED
    })?;
    let arguments: Vec<&Object<'_>> = arguments.iter().map(|argument| &**argument).collect();
    let mut answers = Vec::new();
    for name in call.functions.get() {
        let answer = visit.answer(name.or_empty(), &arguments);
        let goes_on = answer.lets_go_on();
        answers.push(answer);
        if !goes_on {
            break;
        }
    }
    Ok(answers)
}

/// A script whose functions are called.
struct Visit<'a, 'py> {
    interpreter: &'static Interpreter,
    call: &'a Call<'a>,
    exchange: &'a Arc<Exchange>,
    module: Owned<'py>,
}

impl<'py> Visit<'_, 'py> {
    /// What every function gets.
    fn arguments(&self, py: Attached<'py>) -> Result<'py, Vec<Owned<'py>>> {
        let further = self.call.arguments.get().iter();
        let further = further.map(|argument| py.latin1(argument.or_empty()));
        std::iter::once(self.environ(py)).chain(further).collect()
    }

    fn environ(&self, py: Attached<'py>) -> Result<'py, Owned<'py>> {
        let whose = log::ErrorsOf::Hook;
        let errors = log::errors(py, self.interpreter, self.exchange, whose)?;
        let wsgi = self.interpreter.wsgi();
        let environ =
            wsgi.plain_environ(self.call.environ.get(), &errors, self.call.request_rec)?;
        // SAFETY: null, or a table that is valid as long as the call is.
        if let Some(calls) = unsafe { self.call.server.as_ref() } {
            let auth = Auth::new(Arc::clone(self.exchange), *calls);
            let auth = self.interpreter.hook().auth.instantiate(py, auth)?;
            server::describe(&environ, &auth)?;
        }
        Ok(environ)
    }

    /// What a function of the script answers.
    fn answer(&self, name: &[u8], arguments: &[&Object<'py>]) -> Answer {
        self.ask(name, arguments).unwrap_or_else(|raised| {
            self.report(&raised);
            Answer::Failed
        })
    }

    fn ask(&self, name: &[u8], arguments: &[&Object<'py>]) -> Result<'py, Answer> {
        let name = self.module.py().latin1(name)?;
        let Some(function) = self.module.module_item(&name)? else {
            return Ok(Answer::Missing);
        };
        let returned = function.call(arguments)?;
        if self.call.iterate {
            return Ok(Answer::iterated(&returned, |raised| self.report(raised)));
        }
        Ok(Answer::of(&returned))
    }

    fn report(&self, raised: &Raised<'py>) {
        let script = self.call.script.path.or_empty();
        log::exception(self.module.py(), self.exchange, script, raised);
    }
}
