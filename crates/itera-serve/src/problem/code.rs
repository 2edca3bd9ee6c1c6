//! The codes of problems: the same words for ever, with their status and what to do about them.

use axum::http::StatusCode;

/// A row for each: name, code, status, meaning.
macro_rules! codes {
    ($($variant:ident $name:literal $status:ident $meaning:literal)*) => {
        /// What is wrong, for programs.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Code {
            $($variant,)*
        }

        impl Code {
            /// All of them.
            pub(crate) const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The code as clients see it.
            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The status of answers with it.
            pub(crate) const fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status,)* }
            }

            /// When it comes, and what to do about it.
            pub(crate) const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }
        }
    };
}

codes! {
    MalformedJson "malformed_json" BAD_REQUEST "The body is no JSON; the message has the place."
    UnsupportedParameter "unsupported_parameter" BAD_REQUEST "A parameter of other servers that this one does not have; leave it out."
    Refused "refused" BAD_REQUEST "The request cannot be served as it is; the message says why."
    Unauthorized "unauthorized" UNAUTHORIZED "A key is missing, or is not one; send `Authorization: Bearer KEY`."
    RoleMissing "role_missing" FORBIDDEN "The key has not the role for this; use another."
    CrossOrigin "cross_origin" FORBIDDEN "A web page of another origin asks; the operator can permit it with --cors-origin."
    ForwardedWithoutKey "forwarded_without_key" FORBIDDEN "Through a proxy, a server without keys changes nothing; the operator gives --token or --keys."
    NotFound "not_found" NOT_FOUND "There is nothing at this path."
    ModelNotFound "model_not_found" NOT_FOUND "No model has this name; GET /v1/models lists all."
    SessionNotFound "session_not_found" NOT_FOUND "The session has made room for others, or is another client's; begin a new one."
    UnknownFeedbackId "unknown_feedback_id" NOT_FOUND "No answer has this id; it was never stored, or is forgotten."
    UnknownVersion "unknown_version" NOT_FOUND "No version has this name, or more than one; see /adapt/status."
    UnknownExperiment "unknown_experiment" NOT_FOUND "No experiment has this name; GET /experiments lists them."
    MethodNotAllowed "method_not_allowed" METHOD_NOT_ALLOWED "The path has no such method."
    SessionBusy "session_busy" CONFLICT "Another request is going on with the session; wait for it, or fork the session before."
    NoFeedback "no_feedback" CONFLICT "There is nothing to learn from; send feedback first."
    LearningPaused "learning_paused" CONFLICT "An operator has paused learning; POST /adapt/resume lets it go on."
    NoCandidate "no_candidate" CONFLICT "No candidate has this id: it was approved, rejected or withdrawn before; see /adapt/status."
    Superseded "superseded" CONFLICT "Another version is served than the one that the candidate was learnt from; reject it, or roll back to that."
    NotApproved "not_approved" CONFLICT "The version is a candidate; POST /adapt/{id}/approve serves it."
    AlreadyActive "already_active" CONFLICT "The version is served already."
    NothingBefore "nothing_before" CONFLICT "The first version is served; there is none before it."
    ExperimentExists "experiment_exists" CONFLICT "There is or was an experiment of this name; give another one."
    ExperimentRunning "experiment_running" CONFLICT "An experiment runs; stop it before another begins or something is learnt."
    ExperimentEnded "experiment_ended" CONFLICT "The experiment has ended already."
    ModelStays "model_stays" CONFLICT "The first model cannot be unloaded, nor replaced while it has a database; or there are too many models, or one of this name."
    BodyTooLarge "body_too_large" PAYLOAD_TOO_LARGE "The body has more bytes than --max-body-bytes permits."
    NotJson "not_json" UNSUPPORTED_MEDIA_TYPE "Send `Content-Type: application/json`."
    UnknownHost "unknown_host" MISDIRECTED_REQUEST "The request names a host that is not this server; the operator can add it with --allowed-host."
    InvalidValue "invalid_value" UNPROCESSABLE_ENTITY "A field is missing, unknown or out of its range, or the request asks for too much; the message says which."
    RateLimited "rate_limited" TOO_MANY_REQUESTS "Too many requests; wait as long as Retry-After says."
    Internal "internal" INTERNAL_SERVER_ERROR "The server failed; its log says why."
    NoDatabase "no_database" NOT_IMPLEMENTED "The server was started with --database none: it stores and learns nothing."
    NoSessions "no_sessions" NOT_IMPLEMENTED "The server keeps no sessions of this size; its option --session-mb has their megabytes."
    DoesNotLearn "does_not_learn" NOT_IMPLEMENTED "The server does not learn; ask one that does."
    QueueFull "queue_full" SERVICE_UNAVAILABLE "All slots are taken and the queue is full; try again after Retry-After."
    UnreadAnswers "unread_answers" SERVICE_UNAVAILABLE "Too much of earlier answers is still on its way; read those first."
    StoreUnavailable "store_unavailable" SERVICE_UNAVAILABLE "The database cannot be used now, and nothing was stored; try again."
    NobodyLearns "nobody_learns" SERVICE_UNAVAILABLE "No server of this database learns now; try again."
    Ending "ending" SERVICE_UNAVAILABLE "The server is about to end; ask another one."
    Timeout "timeout" GATEWAY_TIMEOUT "It took longer than --timeout-seconds; ask for less, or try again."
}
