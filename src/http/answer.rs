//! What holds of every answer, whichever route it is from: it bears the request's id, tells the methods where
//! that is asked, and is compressed for those who take it so.

use std::convert::Infallible;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::Response;
use tower::Service;

use super::compress;
use super::problem;
use super::request_id;

/// `routes` are always ready.
pub(super) async fn answer<S>(mut routes: S, request: Request) -> Result<Response, Infallible>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    let id = request_id::of(request.headers());
    let takes_gzip = compress::is_taken(&request);
    let asks_for_methods = request.method() == Method::OPTIONS;
    let mut response = routes.call(request).await?;
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        methods(&mut response, asks_for_methods);
    }
    if compress::may_be(&response) {
        response = Box::pin(compress::gzip(response, takes_gzip)).await;
    }
    problem::name_request(&mut response, &id);
    response.headers_mut().insert(request_id::HEADER, id);
    Ok(response)
}

/// `OPTIONS` is there wherever anything is: it is a refusal that tells what is taken, without the refusal.
fn methods(response: &mut Response, asked: bool) {
    if let Some(Ok(allowed)) = response.headers().get(ALLOW).map(HeaderValue::to_str)
        && let Ok(all) =
            HeaderValue::try_from(format!("{}, OPTIONS", allowed.replace(", ", ",").replace(',', ", ")))
    {
        response.headers_mut().insert(ALLOW, all);
    }
    if asked {
        *response.status_mut() = StatusCode::NO_CONTENT;
        *response.body_mut() = Body::empty();
        problem::forget(response);
        response.headers_mut().remove(CONTENT_TYPE);
        response.headers_mut().remove(CONTENT_LENGTH);
    }
}
